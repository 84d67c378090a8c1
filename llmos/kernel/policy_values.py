"""Canonical forms of values that decide an effect: addresses, URLs, paths, numbers, dates; and characters that hide.

Knows values only, no request, no record and no rule.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

MAX_DEPTH = 40
"""What is nested deeper is not looked into."""

TOO_DEEP = "\0 nested too deeply"
"""Stands for it; contains what no request says."""

_SCALARS = (str, int, float)
_EMAIL = re.compile(r"[^\s@<>,;:\"'()\[\]\\]+@[a-z0-9][a-z0-9.-]*\.[a-z0-9-]+", re.IGNORECASE | re.ASCII)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|www\.", re.IGNORECASE)
_UNSHOWN = re.compile(r"[^\x20-\x7e\n\t]")
_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}
_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
# letters of other scripts that look like Latin ones, to explain a look-alike; nothing is ever allowed by this table
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһӏвнкмтАВЕКМНОРСТХІЈЅοαρνικτΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdhlbhkmtABEKMHOPCTXIJSoapvikTABEZHIKMNOPTYX",
)


def leaves(value: Any) -> list[str | int | float | bool]:  # noqa: ANN401 - any JSON value
    """The scalars inside a JSON value, without nulls and empty texts; keys of objects count, too."""
    found: list[str | int | float | bool] = []
    _collect(value, found, 0)
    return found


def _collect(value: Any, found: list[str | int | float | bool], depth: int) -> None:  # noqa: ANN401 - any JSON value
    if isinstance(value, _SCALARS):
        if value != "":
            found.append(value)
    elif depth > MAX_DEPTH:
        found.append(TOO_DEEP)
    elif isinstance(value, Mapping):
        for key, item in value.items():  # pyright: ignore[reportUnknownVariableType] - JSON
            found.append(str(key))  # pyright: ignore[reportUnknownArgumentType]
            _collect(item, found, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType] - JSON
            _collect(item, found, depth + 1)


def hidden(text: str) -> str:
    """The name of the first character of a text that people don't see, "" if there is none."""
    if text.isascii() and text.isprintable():
        return ""
    for found in _UNSHOWN.finditer(text):
        character = found[0]
        kind = unicodedata.category(character)
        if kind in ("Cf", "Cc", "Co", "Cn", "Cs", "Zl", "Zp") or "VARIATION SELECTOR" in unicodedata.name(
            character, ""
        ):
            return unicodedata.name(character, f"U+{ord(character):04X}")
        if kind == "Zs" and character != "\u00a0":
            return unicodedata.name(character, "an odd space")
    return ""


def lookalike(text: str) -> str:
    """A text with look-alike letters of other scripts replaced by the Latin ones that they imitate."""
    shown = "".join(c for c in unicodedata.normalize("NFKC", text) if not hidden(c))
    return shown.translate(_LOOKALIKES).lower()


def is_email(text: str) -> bool:
    """Whether a text is one e-mail address and nothing else."""
    return _EMAIL.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """Whether a text is written as a URL."""
    return _URL.match(text) is not None


@dataclass(frozen=True, slots=True)
class Url:
    """A URL taken apart: scheme ("" where none was written), host with a port that is not the usual one, the rest."""

    scheme: str
    host: str
    path: str
    query: str

    def same(self, other: Url) -> bool:
        """Whether both lead to the same place; a scheme left out may be http or https."""
        schemes = {self.scheme, other.scheme}
        alike = len(schemes) == 1 or ("" in schemes and schemes <= {"", "http", "https"})
        return alike and (self.host, self.path, self.query) == (other.host, other.path, other.query)


@lru_cache(maxsize=1024)
def url(text: str) -> Url | None:
    """A URL in canonical form; None if it is none, or could be read in two ways.

    Refused: credentials before the host (`https://good@evil`), backslashes, blanks, control characters, hosts that are
    not ASCII. Case, usual port, dot at the end of the host and dot segments of the path are normalised (RFC 3986 §6.2).
    """
    if not text.isascii() or not text.isprintable() or re.search(r"[\s\\<>\"]", text):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError:
        return None
    host = (parts.hostname or "").rstrip(".")
    if not host or "@" in parts.netloc or "%" in parts.netloc:
        return None
    if port is not None and port != _PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    path = re.sub("%2e", ".", parts.path, flags=re.IGNORECASE) or "/"
    resolved = posixpath.normpath(re.sub("/{2,}", "/", path))
    if path.endswith(("/", "/.", "/..")) and resolved != "/":
        resolved += "/"
    return Url(parts.scheme, host, resolved, f"{parts.query}#{parts.fragment}" if parts.fragment else parts.query)


def path(text: str) -> str | None:
    """A file path without `.`, `..` and doubled slashes; None if it leads out of its start, or hides something."""
    if not text or hidden(text) or text.startswith("~") or "\\" in text or "\n" in text:
        return None
    resolved = posixpath.normpath(unicodedata.normalize("NFC", text))
    resolved = resolved.replace("//", "/")  # normpath keeps two slashes at the start
    return None if resolved == ".." or resolved.startswith("../") else resolved


def number(value: str | int | float | bool) -> Decimal | None:
    """A number, also one written as text; None for anything else."""
    if isinstance(value, bool):
        return None
    text = str(value)
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        return None
    return Decimal(text).normalize()


@dataclass(frozen=True, slots=True)
class Moment:
    """A day, with a time of day in minutes or None."""

    day: date
    minutes: int | None = None


@lru_cache(maxsize=2048)
def moment(text: str) -> Moment | None:
    """An ISO 8601 date, with or without a time; None for anything else."""
    found = _MOMENT.fullmatch(text)
    if not found:
        return None
    year, month, day, hours, minutes, _ = found.groups()
    try:
        when = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return Moment(when, int(hours) * 60 + int(minutes) if hours else None)


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for tables."""
    return frozenset(text.split())


@lru_cache(maxsize=2048)
def name_tokens(name: str) -> frozenset[str]:
    """The words in the name of an argument, a field or a tool, lower case and singular."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return frozenset(singular(word.lower()) for word in words)


def singular(word: str) -> str:
    """A word without the s of a plural."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def same_as(value: Any) -> Callable[[Any], bool]:  # noqa: ANN401 - any JSON value
    """A test whether another scalar means the same: numbers by value, moments by time, e-mails without case."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return lambda other: other is value
    text = str(value)
    if (amount := number(value)) is not None:
        return lambda other: other == value or (_is_numeric(other) and number(other) == amount)
    if (when := moment(text)) is not None:
        return lambda other: other == value or (isinstance(other, str) and moment(other) == when)
    if is_email(text):
        lower = text.lower()
        return lambda other: isinstance(other, str) and other.lower() == lower
    return lambda other: other == value and not isinstance(other, bool)


def _is_numeric(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, int | float) or (isinstance(value, str) and value[:1] in "+-0123456789" and value != "")


def plain(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A value for people, short."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        text = ", ".join(str(item) for item in leaves(value))
    else:
        text = str(value)
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
