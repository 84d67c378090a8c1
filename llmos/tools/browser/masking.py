"""Takes secrets and passwords out of what a browser run leaves behind: texts, data, and Playwright's traces.

Secrets are known by their values, whatever page echoes them, plain or encoded. What stands in password and card fields
is taken out of a trace also where nobody knows it: a person may have typed it. Pictures are covered when they are
taken (`pictures`); those that a trace has beside them can't be, and are left out where secrets were typed. Knows no
vault and no page.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from llmos.errors import StorageError
from llmos.tools.secrets import MIN_LENGTH, forms

HIDDEN = "\u2022\u2022\u2022"
"""Stands for what nobody is shown."""

MAX_MEMBER = 64_000_000
"""A file in a trace that is larger is left out of it."""

_VALUES = ("__playwright_value_", "value")
_PRIVATE = re.compile(r"cc-|current-password|new-password|one-time-code")
_EVENTS = (".trace", ".network")
_PICTURES = (".jpeg", ".jpg", ".png", ".webp")


class Mask:
    """The secrets of one session, and what is shown in their place."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def __bool__(self) -> bool:
        return bool(self._shown)

    def add(self, value: str, shown: str = HIDDEN) -> None:
        """Hide a value from now on.

        Args:
            value: The secret. A short one is hidden only where it stands alone.
            shown: What stands there instead, such as its handle.
        """
        if not value or value in self._shown:
            return
        # the last character is typed by key, so that a trace has the others by themselves
        for text in (value, value[:-1]):
            if len(text) >= MIN_LENGTH - 1:
                self._shown |= {form: self._shown.get(form, shown) for form in forms(text)}
            elif text == value:
                self._shown[text] = shown
        longest = sorted((text for text in self._shown if len(text) >= MIN_LENGTH - 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest))) if longest else None

    def text(self, text: str) -> str:
        """A text without secrets."""
        if text in self._shown:
            return self._shown[text]
        return text if self._pattern is None else self._pattern.sub(lambda found: self._shown[found[0]], text)

    def data(self, value: Any) -> Any:  # noqa: ANN401 - JSON data
        """JSON data without secrets, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            entries = cast("Mapping[str, Any]", value)
            return {self.text(str(key)): self.data(entry) for key, entry in entries.items()}
        if isinstance(value, list | tuple):
            return [self.data(entry) for entry in cast("list[Any]", value)]
        return value

    def trace(self, file: Path) -> None:
        """Take secrets out of a trace of Playwright's. Where that fails, no trace is left.

        Raises:
            StorageError: It can't be read or written.
        """
        draft = file.with_name(f".{file.name}.masked")
        try:
            with zipfile.ZipFile(file) as before:
                whole = _Trace(self, before)
                with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as after:
                    whole.write(after)
            os.replace(draft, file)
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:
            draft.unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            raise StorageError(
                f"Secrets could not be taken out of the trace {str(file)!r}, so it was removed: {error}.",
                hint="Free some disk space, and run it again.",
            ) from error


class _Trace:
    """One trace on its way through the mask."""

    def __init__(self, mask: Mask, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._mask = Mask()
        self._mask._shown = dict(mask._shown)  # pyright: ignore[reportPrivateUsage]
        self._mask._pattern = mask._pattern  # pyright: ignore[reportPrivateUsage]
        self._pictures = not mask
        for name in self._names(_EVENTS):
            for event in self._events(name):
                for value in _typed(event):
                    self._mask.add(value)

    def write(self, archive: zipfile.ZipFile) -> None:
        """The trace, masked."""
        for entry in self._archive.infolist():
            name = entry.filename
            if entry.file_size > MAX_MEMBER or (name.endswith(_PICTURES) and not self._pictures):
                continue
            if name.endswith(_EVENTS):
                lines = (self._line(event) for event in self._events(name))
                archive.writestr(name, "".join(line for line in lines if line))
            elif name.endswith(_PICTURES):
                archive.writestr(name, self._archive.read(name))
            else:
                archive.writestr(name, self._bytes(self._archive.read(name)))

    def _names(self, endings: tuple[str, ...]) -> list[str]:
        return [
            e.filename for e in self._archive.infolist() if e.filename.endswith(endings) and e.file_size <= MAX_MEMBER
        ]

    def _events(self, name: str) -> list[Any]:
        found: list[Any] = []
        for line in self._archive.read(name).decode("utf-8", "replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # cut by a crash
        return found

    def _line(self, event: Any) -> str:  # noqa: ANN401 - JSON data
        if (
            not self._pictures
            and isinstance(event, dict)
            and cast("dict[str, Any]", event).get("type") == "screencast-frame"
        ):
            return ""
        _cover(event)
        return json.dumps(self._mask.data(event), ensure_ascii=False, separators=(",", ":")) + "\n"

    def _bytes(self, raw: bytes) -> bytes:
        try:
            return self._mask.text(raw.decode("utf-8")).encode()
        except UnicodeDecodeError:
            return raw


def _private(node: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON data
    """The attributes of a snapshot's node, if it is a field for a password or a card."""
    match node:
        case [tag, attributes, *_]:
            pass
        case _:
            return None
    if tag != "INPUT" or not isinstance(attributes, dict):
        return None
    found = {str(key).lower(): value for key, value in cast("dict[str, Any]", attributes).items()}
    is_private = str(found.get("type", "")).lower() == "password" or _PRIVATE.search(str(found.get("autocomplete", "")))
    return cast("dict[str, Any]", attributes) if is_private else None


def _nodes(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON data
    """The attributes of all private fields in an event."""
    found: list[dict[str, Any]] = []
    left: list[Any] = [value]
    while left:
        one = left.pop()
        if (attributes := _private(one)) is not None:
            found.append(attributes)
        if isinstance(one, dict):
            left += one.values()  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        elif isinstance(one, list):
            left += one  # pyright: ignore[reportUnknownArgumentType]
    return found


def _typed(event: Any) -> set[str]:  # noqa: ANN401 - JSON data
    """What stood in private fields."""
    values = {str(node[name]) for node in _nodes(event) for name in _VALUES if node.get(name)}
    return {value for value in values if len(value) >= MIN_LENGTH}


def _cover(event: Any) -> None:  # noqa: ANN401 - JSON data
    for node in _nodes(event):
        for name in _VALUES:
            if node.get(name):
                node[name] = HIDDEN
