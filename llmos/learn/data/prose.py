"""Ordinary English as replay: training for the kernel's jobs must not cost the language (catastrophic forgetting,
McCloskey and Cohen 1989; replay after Robins 1995).

Texts are those of `prose.toml` and the prose of Python's own help and docstrings, which stand on every machine; the
latter differ a little from one version of Python to another. Knows no model.
"""

from __future__ import annotations

import ast
import re
import sysconfig
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.data.pools import dealt
from llmos.messages import Context

SHORTEST, LONGEST = 100, 200
"""Words of a chunk."""

_OWN = 0.5
"""How often a text is an own one: they are fewer, and nearer to what people write."""

_MODULES = (
    "_pydecimal", "_pyio", "argparse", "asyncio.base_events", "asyncio.events", "calendar", "codecs", "configparser",
    "contextlib", "difflib", "doctest", "email._policybase", "email.header",
    "email.headerregistry", "email.message", "email.parser", "email.policy", "fractions", "functools", "heapq",
    "http.client", "http.cookiejar", "imaplib", "inspect", "ipaddress", "logging", "logging.config",
    "logging.handlers", "mailbox", "os", "pathlib", "pdb", "pprint", "random", "shlex", "shutil", "smtplib",
    "socketserver", "statistics", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "traceback",
    "turtle", "types", "typing", "unittest.case", "unittest.mock", "urllib.parse", "urllib.request", "uuid",
    "weakref", "xml.sax.handler", "xml.sax.xmlreader", "zipfile",
)  # fmt: skip

_MARKS = re.compile(r"::|>>>|^\s|[|=~*+^-]{4}|\\|\]\s*\[|::=|^\d+\.", re.MULTILINE)
_SPLITS: tuple[Split, ...] = ("test", "validation", "train")

_SENTENCE = 15
"""A paragraph with fewer words is a heading or a remark."""

_CODE_LIKE = re.compile(r"[{}<>_=\[\]()\"`*]")
_MAX_CODE = 0.02
"""Of the letters of a paragraph, those that are brackets and other marks of code."""


def prose_sheet(random: Random, split: Split) -> Sheet:
    """Chunks of plain text, each to be read from its beginning: the contexts are empty raw text."""
    return [_example(random, split) for _ in range(random.randint(3, 5))]


def _example(random: Random, split: Split) -> Example:
    pool = _own(split) if random.random() < _OWN else _help(split)
    return Example("chat", Context(text=""), random.choice(pool), kind="prose")


@cache
def _own(split: Split) -> tuple[str, ...]:
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    texts = [text.strip() for text in str(data["texts"]).split("\n\n")]
    return tuple(_cut(text) for text in dealt(texts, split, "prose"))


@cache
def _help(split: Split) -> tuple[str, ...]:
    """Prose about Python, in chunks; a topic or a module is in one split as a whole."""
    from pydoc_data.topics import topics  # half a megabyte

    chunks: list[str] = []
    for name in dealt(sorted(topics), split, "topics"):
        chunks += _chunks(topics[name].split("\n\n"))
    for name in dealt(_MODULES, split, "modules"):
        chunks += _chunks(_documented(name))
    # the same paragraphs stand in some places twice
    others = {chunk for other in _SPLITS[: _SPLITS.index(split)] for chunk in _help(other)}
    return tuple(chunk for chunk in dict.fromkeys(chunks) if chunk not in others and len(chunk.split()) <= LONGEST)


def _documented(module: str) -> list[str]:
    """The paragraphs of a module's docstrings; none if this Python has no source of it."""
    place = Path(sysconfig.get_path("stdlib"), *module.split("."))
    file = next((one for one in (place.with_suffix(".py"), place / "__init__.py") if one.is_file()), None)
    if file is None:
        return []
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
    return [paragraph for text in texts for paragraph in text.split("\n\n")]


def _chunks(paragraphs: Sequence[str]) -> list[str]:
    """Paragraphs of prose, some together where they are short; what is left at the end is dropped."""
    chunks: list[str] = []
    text = ""
    for paragraph in paragraphs:
        if not _is_prose(paragraph):
            continue
        text = f"{text}\n\n{' '.join(paragraph.split())}".strip()
        if len(text.split()) >= SHORTEST:
            chunks.append(_cut(text))
            text = ""
    return chunks


def _is_prose(paragraph: str) -> bool:
    """Whether it is sentences, rather than code, a table or a heading."""
    words = paragraph.split()
    return (
        len(words) >= _SENTENCE
        and paragraph.lstrip()[:1].isupper()
        and paragraph.rstrip().endswith(".")
        and not _MARKS.search(paragraph)
        and len(_CODE_LIKE.findall(paragraph)) <= _MAX_CODE * len(paragraph)
    )


def _cut(text: str) -> str:
    """As many whole sentences from the beginning of a text as are short enough together."""
    kept = ""
    for sentence in re.split(r"(?<=[.!?])(?=\s)", text):
        if kept and len((kept + sentence).split()) > LONGEST:
            break
        kept += sentence
    return kept
