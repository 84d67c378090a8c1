"""Markdown files that begin with YAML between two lines of `---`: agents and skills are written so.

An error names the file, the line and what is wrong. Knows neither agents nor skills: only keys, values and the text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from llmos.errors import ConfigError, StorageError

MAX_FILE = 256 * 1024
"""Bytes of a file."""

MAX_HEAD = 16 * 1024
"""Characters of the front matter."""

_MARK = "---"


@dataclass(frozen=True, slots=True)
class Sheet:
    """What stands in such a file.

    Attributes:
        place: The file, as errors name it.
        values: By key, plain data.
        lines: The line that each key is in, from 1.
        body: The text below.
    """

    place: str
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    body: str

    def wrong(self, key: str, problem: str, *, hint: str = "") -> ConfigError:
        """An error on a key; on the first line if there is none such."""
        return ConfigError(f"{self.place}:{self.lines.get(key, 1)}: {problem}", hint=hint)

    def only(self, known: Collection[str]) -> None:
        """See that there is no other key: a mistyped one would be taken for absent.

        Raises:
            ConfigError: There is.
        """
        for key in self.values:
            if key not in known:
                raise self.wrong(key, f"unknown key {key!r}.", hint=f"Known are {', '.join(sorted(known))}.")

    def text(self, key: str, *, longest: int, needed: bool = False) -> str:
        """A value that is a text, without space around it; empty if it is absent.

        Raises:
            ConfigError: It is none, is missing, or is longer than so many characters.
        """
        value = self.values.get(key)
        if value is None:
            value = ""
        if not isinstance(value, str):
            raise self.wrong(key, f"{key!r} is {value!r} and no text.", hint='Put it into quotes: "…".')
        value = value.strip()
        if needed and not value:
            raise self.wrong(key, f"{key!r} is missing.")
        if len(value) > longest:
            raise self.wrong(key, f"{key!r} has {len(value):,} characters; {longest:,} are allowed.")
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A value that is a list of texts, or one text with commas; None if it is absent.

        Raises:
            ConfigError: It is something else.
        """
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, list) and all(isinstance(one, str) for one in cast("list[object]", value)):
            return tuple(one.strip() for one in cast("list[str]", value))
        raise self.wrong(key, f"{key!r} is {value!r} and no list of texts.", hint=f"Write it as {key}: [one, two].")

    def table(self, key: str) -> Mapping[str, Any]:
        """A value that has keys of its own; empty if it is absent.

        Raises:
            ConfigError: It is something else.
        """
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in cast("dict[object, object]", value)):
            raise self.wrong(key, f"{key!r} is {value!r} and has no keys.", hint=f"Write it as {key}: {{name: value}}.")
        return cast("dict[str, Any]", value)


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        StorageError: It can't be read, or is too long.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror or error}.") from error
    if len(data) > MAX_FILE:
        raise StorageError(f"{str(path)!r} is longer than {MAX_FILE:,} bytes.")
    return data


def parse(data: bytes, place: str) -> Sheet:
    """The contents of a file.

    Args:
        place: The file, for errors.

    Raises:
        ConfigError: It is not text, has no front matter, or that is no YAML with keys.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{place}:{line}: it is not UTF-8 text.", hint="Save it as UTF-8.") from error
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != _MARK:
        raise ConfigError(f"{place}:1: it does not begin with front matter.", hint=f"The first line is {_MARK}.")
    end = next((number for number, line in enumerate(lines) if number and line.rstrip() == _MARK), None)
    if end is None:
        raise ConfigError(f"{place}:1: the front matter does not end.", hint=f"It ends with a line of {_MARK}.")
    head = "\n".join(lines[1:end])
    if len(head) > MAX_HEAD:
        raise ConfigError(f"{place}:1: the front matter has {len(head):,} characters; {MAX_HEAD:,} are allowed.")
    values, where = _yaml(head, place)
    return Sheet(place, values, where, "\n".join(lines[end + 1 :]).strip())


def _yaml(head: str, place: str) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """The keys of a YAML text with values and lines; the text begins on the file's second line."""
    import yaml

    def at(mark: yaml.Mark | None) -> str:
        return f"{place}:{(mark.line if mark is not None else 0) + 2}"

    try:
        for token in yaml.scan(head):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                raise ConfigError(f"{at(token.start_mark)}: '&' and '*' begin references, which are not allowed here.")
        node = yaml.compose(head, yaml.SafeLoader)
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{at(node.start_mark)}: the front matter has no keys.", hint="Write NAME: VALUE.")
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name = str(key.value)
            if name in lines:
                raise ConfigError(f"{at(key.start_mark)}: {name!r} stands there twice.")
            lines[name] = key.start_mark.line + 2
        values: dict[str, Any] = yaml.safe_load(head)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{at(error.problem_mark)}: no valid YAML: {error.problem}.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: of a date that there is not
        raise ConfigError(f"{place}:2: no valid YAML: {error}.") from error
    return {str(key): value for key, value in values.items()}, lines
