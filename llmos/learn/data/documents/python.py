"""Prose that comes with every Python: what library functions return, and the language reference. PSF licence.

Knows no job. What it gives depends a little on the version of Python.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from llmos.learn.data.documents.values import shares
from llmos.learn.data.example import Split, split_of

_MODULES = (
    "posixpath", "ntpath", "genericpath", "shutil", "textwrap", "statistics", "random", "string", "calendar", "os",
    "inspect", "functools", "collections", "contextlib", "difflib", "fnmatch", "fractions", "glob", "heapq", "json",
    "keyword", "linecache", "locale", "mimetypes", "numbers", "pathlib", "platform", "pprint", "shlex", "socket",
    "subprocess", "tempfile", "tokenize", "traceback", "types", "uuid", "zipfile", "ipaddress", "base64", "bisect",
    "colorsys", "configparser", "copy", "csv", "dataclasses", "email.utils", "enum", "gettext", "gzip", "html",
    "http.client", "imaplib", "mailbox", "netrc", "optparse", "pkgutil", "queue", "sched", "secrets", "site", "stat",
    "sysconfig", "tarfile", "threading", "timeit", "turtle", "typing", "urllib.parse", "urllib.request", "warnings",
    "wave", "weakref", "webbrowser", "xml.dom.minidom", "zoneinfo._common", "ast", "dis", "decimal", "_pydecimal",
    "datetime", "_pydatetime", "asyncio.tasks", "asyncio.events", "logging", "concurrent.futures._base",
)  # fmt: skip
_ASKS = (
    "What does {n} return?", "what is returned by {n}", "What do I get from {n}?", "What is the result of {n}?",
    "Tell me what {n} gives back.", "What comes back from {n}?", "What will {n} hand back?", "Calling {n} yields what?",
    "return value of {n}?", "What does a call of {n} give?", "What value has {n}?", "Which value does {n} return?",
)  # fmt: skip
_SENTENCE = re.compile(r"(?<=[.])\s+(?=[A-Z])")
_CLEAN = re.compile(r"[A-Z][^`<>|{}*_=]{30,}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A function, a passage about it, and what it returns, as it stands there."""

    name: str
    text: str
    answer: str


@cache
def entries(split: Split) -> tuple[Entry, ...]:
    """The functions of a split, by their order in the library."""
    return tuple(one for one in _entries() if split_of(f"python {one.name}") == split)


@cache
def _entries() -> tuple[Entry, ...]:
    """All functions whose names stand for one thing only."""
    found: dict[str, Entry | None] = {}
    for module in _MODULES:
        for one in _functions(module):
            found[one.name] = None if one.name in found else one
    return tuple(one for one in found.values() if one)


def ask(random: Random, split: Split, entry: Entry) -> str:
    """A question for what a function returns."""
    return random.choice(shares(_ASKS, split)).format(n=entry.name)


def prose(random: Random, split: Split) -> str:
    """Some sentences of the language reference."""
    return random.choice(passages(split))


@cache
def passages(split: Split) -> tuple[str, ...]:
    """The paragraphs of the language reference that belong to a split."""
    from pydoc_data.topics import topics  # half a megabyte

    found: list[str] = []
    for name in sorted(topics):
        if split_of(f"reference {name}") != split:
            continue
        paragraphs = [" ".join(one.split()) for one in re.split(r"\n\s*\n", topics[name])]
        clean = [one for one in paragraphs if _CLEAN.match(one) and one.endswith(".") and "::=" not in one]
        found += [one for one in clean if 20 <= len(one.split()) <= 110]
    return tuple(found)


def _functions(module: str) -> Iterator[Entry]:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            about = " ".join((ast.get_docstring(node) or "").split())
            entry = _entry(module.lstrip("_"), node.name, about)
            if entry:
                yield entry


def _entry(module: str, name: str, about: str) -> Entry | None:
    sentences = [one for one in _SENTENCE.split(about) if ">>>" not in one][:4]
    if not sentences:
        return None
    match = re.fullmatch(r"Returns? ((?:a|an|the|all) [^.:;()]{8,80})\.", sentences[0])
    if match is None or " if " in match[1] or "`" in about or len(name) < 5:
        return None
    text = " ".join(sentences)
    return Entry(name, f"{module}.{name}: {text}", match[1]) if len(text.split()) <= 90 else None
