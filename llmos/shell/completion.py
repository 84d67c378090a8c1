"""Completion of `/commands` and `@files`. Knows the prompt library's completer, not the prompt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from llmos.shell.commands import COMMANDS, find
from llmos.shell.shell import Shell

_FILE = re.compile(r'(?<!\S)@(?:"([^"\n]*)|([^\s"]*))$')
_COMMAND = re.compile(r"^\s*/([a-z]*)$")
_ARGUMENT = re.compile(r"^\s*/([a-z]+)\s+(.*)$", re.DOTALL)
_LISTED = 200


class ShellCompleter(Completer):
    """Completes what begins with `/` or `@`, and what a command takes."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What could stand at the cursor."""
        before = document.text_before_cursor
        if (file := _FILE.search(before)) is not None:
            return self._files(file[1] if file[1] is not None else file[2], quoted=file[1] is not None)
        if (command := _COMMAND.match(before)) is not None:
            return self._commands(command[1])
        if (argument := _ARGUMENT.match(before)) is not None:
            return self._arguments(argument[1], argument[2])
        return ()

    def _commands(self, typed: str) -> Iterator[Completion]:
        for name in sorted(COMMANDS):
            if name.startswith(typed):
                yield Completion(name, -len(typed), display=f"/{name}", display_meta=COMMANDS[name].summary)

    def _arguments(self, name: str, typed: str) -> Iterator[Completion]:
        command = find(name)
        if command is None or command.complete is None:
            return
        for option in command.complete(self._shell, typed):
            if option.startswith(typed):
                yield Completion(option, -len(typed))

    def _files(self, typed: str, *, quoted: bool) -> Iterator[Completion]:
        directory, _, start = typed.rpartition("/")
        prefix = f"{directory}/" if directory or typed.startswith("/") else ""
        for name, is_folder in _entries((self._shell.folder or Path()) / Path(prefix).expanduser(), start):
            whole = f"{prefix}{name}{'/' if is_folder else ''}"
            shown = f"{name}/" if is_folder else name
            if " " in whole and not quoted:
                yield Completion(f'"{whole}', -len(typed), display=shown)
            else:
                yield Completion(f'{whole}"' if quoted and not is_folder else whole, -len(typed), display=shown)


def _entries(folder: Path, start: str) -> list[tuple[str, bool]]:
    """Names in a folder that begin so, folders first; hidden ones only if a dot was typed."""
    found: list[tuple[str, bool]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith(".")):
                    found.append((entry.name, entry.is_dir()))
    except OSError:
        return []
    return sorted(found, key=lambda item: (not item[1], item[0]))[:_LISTED]
