"""What the shell's tests share: scripts for scripted engines, the program as a process, and a terminal for it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from llmos.engine.hardware import detect

WAIT = 30.0
T = TypeVar("T")
_HARDWARE = detect()
needs_preparation = pytest.mark.skipif(
    bool(_HARDWARE.offload) or not _HARDWARE.features & {"avx2", "dotprod"},
    reason="on this machine the embedded model runs as it is",
)


def script(folder: Path, replies: object, **values: object) -> str:
    """The model name of an engine that follows a script."""
    path = folder / "script.json"
    path.write_text(json.dumps({"replies": replies, **values}), encoding="utf-8")
    return f"scripted:{path}"


def environment(home: Path, **values: str) -> dict[str, str]:
    """Variables for a process of its own home; it only talks, unless `LLMOS_TOOLS` says otherwise."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("NO_COLOR", "TERM", "LLMOS_DEBUG", "COLUMNS", "LINES")
    }
    return kept | {"LLMOS_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "", "LLMOS_TOOLS": "false"} | values


def llmos(home: Path, *arguments: str, stdin: bytes | None = b"", **values: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end."""
    command = [sys.executable, "-m", "llmos", *arguments]
    where = environment(home, **values)
    return subprocess.run(command, input=stdin, capture_output=True, timeout=WAIT, check=False, env=where)


PROGRAM = str(Path(__file__).with_name("program.py"))


def start(folder: Path, *arguments: str, **values: str) -> subprocess.Popen[bytes]:
    """Start the program with the agents of `tests.shell.program`, working in `folder`/work, at home in `folder`."""
    (folder / "work").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, PROGRAM, *arguments],
        cwd=folder / "work",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(folder, LLMOS_TOOLS="", **values),
    )


def run(folder: Path, *arguments: str, **values: str) -> tuple[int, str, str]:
    """Run that program to its end: exit code, stdout, stderr."""
    with start(folder, *arguments, **values) as process:
        out, err = process.communicate(timeout=WAIT)
        return process.returncode, out.decode(), err.decode()


def listed(folder: Path, *options: str) -> list[dict[str, Any]]:
    """What another terminal sees."""
    code, out, _ = run(folder, "ps", "--json", *options)
    assert code == 0
    rows: list[dict[str, Any]] = json.loads(out)
    return rows


def permit_writing(folder: Path) -> None:
    """Let every run write files."""
    assert run(folder, "grants", "add", "write_file")[0] == 0


def until(condition: Callable[[], T]) -> T:
    """Wait until something is true."""
    end = time.monotonic() + WAIT
    while not (found := condition()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)
    return found


def broken_llama(folder: Path) -> str:
    """A path for Python on which llama-cpp-python is found and can't be imported, as after a bad build."""
    package = folder / "broken" / "llama_cpp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise OSError('libllama.so: cannot open shared object file')\n")
    return str(package.parent)


class Screen:
    """A small terminal: keeps what a program has written as lines. Knows the sequences that the chat uses."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self.row = self.column = 0
        self._cells: list[list[str]] = [[]]  # the second cell of a wide character is empty
        self._held = ""
        self._wraps = True

    def write(self, text: str) -> None:
        """Take output."""
        text, self._held = self._held + text, ""
        while text:
            match = re.match(r"\x1b(?:\[([0-9;?]*)([A-Za-z])|[=>])", text)
            if match:
                if match[2]:
                    self._sequence(match[1], match[2])
                text = text[match.end() :]
            elif text[0] == "\x1b" and len(text) < 12:
                self._held = text
                return
            else:
                self._character(text[0])
                text = text[1:]

    def flush(self) -> None:
        """It is a file for those who write to it."""

    @property
    def text(self) -> str:
        """All lines, those that have scrolled away too."""
        return "\n".join("".join(cells).rstrip() for cells in self._cells).rstrip()

    def _sequence(self, parameters: str, name: str) -> None:
        count = int(parameters) if parameters.isdigit() else 1
        top = max(len(self._cells) - self.rows, 0)
        match name:
            case "A":
                self.row = max(self.row - count, top)
            case "B":
                self.row = min(self.row + count, len(self._cells) - 1)
            case "C":
                self.column = min(self.column + count, self.columns - 1)
            case "D":
                self.column = max(self.column - count, 0)
            case "J" | "K":
                del self._cells[self.row][self.column :]
                if name == "J":
                    del self._cells[self.row + 1 :]
            case "h" | "l" if parameters == "?7":
                self._wraps = name == "h"
            case "m" | "h" | "l" | "n":
                pass
            case _:
                raise AssertionError(f"the terminal does not know {parameters + name!r}")

    def _character(self, character: str) -> None:
        match character:
            case "\n":
                self._down()
            case "\r":
                self.column = 0
            case "\b":
                self.column = max(self.column - 1, 0)
            case _:
                self._print(character, 2 if ord(character) > 0x2E7F else 1)

    def _print(self, character: str, width: int) -> None:
        if self.column + width > self.columns and self._wraps:
            self._down()
            self.column = 0
        cells = self._cells[self.row]
        cells += [" "] * (self.column + width - len(cells))
        cells[self.column : self.column + width] = [character] + [""] * (width - 1)
        self.column += width

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self._cells):
            self._cells.append([])


class Terminal:
    """The program on a pseudo-terminal.

    Args:
        folder: Where it works; there it has the agents of `tests.shell.program`.
    """

    def __init__(
        self,
        home: Path,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        folder: Path | None = None,
        **values: str,
    ) -> None:
        self.output = ""
        self.screen = Screen(columns, rows)
        pid, self._fd = pty.fork()
        if pid == 0:
            program = ["-m", "llmos"] if folder is None else [PROGRAM]
            os.chdir(folder or ".")
            os.execve(sys.executable, [sys.executable, *program, *arguments], environment(home, **values))
        self.pid = pid
        self._ended: int | None = None
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Change its size. What it shows already stays as it is."""
        self.screen.columns, self.screen.rows = columns, rows
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, keys: str) -> None:
        """Type keys."""
        os.write(self._fd, keys.encode())

    def read(self, seconds: float) -> None:
        """Take what is written in that time at most."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            time.sleep(seconds)
            return
        if b"\x1b[6n" in data:  # asked where the cursor is: in the first line
            self.send("\x1b[1;1R")
        text = data.decode("utf-8", "replace")
        self.output += text
        self.screen.write(text)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is true."""
        end = time.monotonic() + WAIT
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"the screen shows:\n{self.screen.text}")
            self.read(0.05)

    def expect(self, text: str) -> None:
        """Wait until a text is on the screen, or has scrolled away from it."""
        self.until(lambda: text in self.screen.text)

    def ready(self, context: str = "4,096") -> None:
        """Wait until the prompt takes keys: the last line is its status, with the size of the context."""
        self.until(lambda: f"of {context} tokens" in self.screen.text.rpartition("\n")[2])

    def wait(self) -> int:
        """Its exit code."""
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended = os.waitstatus_to_exitcode(status)
                return self._ended
        raise AssertionError(f"it does not end: \n{self.screen.text}")

    def close(self) -> None:
        """End it if it has not ended."""
        if self._ended is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)


@contextmanager
def terminals(home: Path, *, columns: int, rows: int) -> Generator[Callable[..., Terminal]]:
    """Starts programs with tools in the folder `work` of a home, each on a terminal, and ends them all."""
    work = home / "work"
    work.mkdir()
    begun: list[Terminal] = []

    def begin(*arguments: str, **values: str) -> Terminal:
        begun.append(Terminal(home, *arguments, columns=columns, rows=rows, folder=work, LLMOS_TOOLS="", **values))
        return begun[-1]

    try:
        yield begin
    finally:
        for terminal in begun:
            terminal.close()
