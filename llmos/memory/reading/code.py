"""Reads source code by definition: functions, methods and classes, with the comments before them, found by tree-sitter.

A class that is short stays whole. Broken code is read as far as it can be parsed, the rest by lines. Knows nothing of
what the code means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from llmos.memory.reading.chunks import TOKENS
from llmos.memory.reading.document import Block, Document, Section
from llmos.memory.reading.plain import paragraphs
from llmos.memory.reading.sentences import estimate

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

SUFFIXES = {
    ".py": "python", ".pyi": "python", ".pyw": "python",
    ".js": "javascript", ".jsx": "javascript", ".mjs": "javascript", ".cjs": "javascript",
    ".ts": "typescript", ".mts": "typescript", ".cts": "typescript", ".tsx": "tsx",
    ".java": "java", ".go": "go", ".rs": "rust", ".rb": "ruby", ".cs": "c_sharp", ".php": "php",
    ".c": "c", ".h": "c", ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hh": "cpp", ".hpp": "cpp", ".hxx": "cpp",
    ".sh": "bash", ".bash": "bash",
}  # fmt: skip
"""Which language a file is in, by its suffix."""

INTERPRETERS = {"python": "python", "bash": "bash", "sh": "bash", "node": "javascript", "ruby": "ruby", "php": "php"}

# what has definitions inside, and what is one by itself
_OUTER: dict[str, frozenset[str]] = {
    "python": frozenset({"class_definition"}),
    "javascript": frozenset({"class_declaration"}),
    "typescript": frozenset(
        {"class_declaration", "abstract_class_declaration", "internal_module", "module", "interface_declaration"}
    ),
    "java": frozenset({"class_declaration", "interface_declaration", "enum_declaration", "record_declaration"}),
    "go": frozenset(),
    "rust": frozenset({"impl_item", "trait_item", "mod_item"}),
    "ruby": frozenset({"class", "module", "singleton_class"}),
    "c_sharp": frozenset(
        {
            *("class_declaration", "struct_declaration", "interface_declaration", "record_declaration"),
            "namespace_declaration",
        }
    ),
    "php": frozenset({"class_declaration", "interface_declaration", "trait_declaration", "enum_declaration"}),
    "c": frozenset(),
    "cpp": frozenset({"class_specifier", "struct_specifier", "namespace_definition"}),
    "bash": frozenset(),
}
_INNER: dict[str, frozenset[str]] = {
    "python": frozenset({"function_definition"}),
    "javascript": frozenset({"function_declaration", "generator_function_declaration", "method_definition"}),
    "typescript": frozenset(
        {
            *("function_declaration", "generator_function_declaration", "method_definition", "enum_declaration"),
            *("type_alias_declaration", "function_signature"),
        }
    ),
    "java": frozenset({"method_declaration", "constructor_declaration", "annotation_type_declaration"}),
    "go": frozenset({"function_declaration", "method_declaration", "type_declaration"}),
    "rust": frozenset({"function_item", "struct_item", "enum_item", "union_item", "macro_definition"}),
    "ruby": frozenset({"method", "singleton_method"}),
    "c_sharp": frozenset({"method_declaration", "constructor_declaration", "enum_declaration", "delegate_declaration"}),
    "php": frozenset({"function_definition", "method_declaration"}),
    "c": frozenset({"function_definition", "struct_specifier", "union_specifier", "enum_specifier", "type_definition"}),
    "cpp": frozenset({"function_definition", "enum_specifier", "union_specifier", "type_definition"}),
    "bash": frozenset({"function_definition"}),
}
_ARROWS = frozenset({"arrow_function", "function_expression"})
_BEFORE = frozenset({"comment", "line_comment", "block_comment", "attribute_item", "decorator"})
_WRAPPERS = frozenset({"decorated_definition", "export_statement", "template_declaration", "ambient_declaration"})
_LISTS = frozenset({"lexical_declaration", "variable_declaration", "type_declaration"})
_DEEPEST = 40  # what is nested deeper is not looked into
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class _Definition:
    """`first` to `last` are its lines from 0, with the comments before it; `inner` are those inside."""

    name: str
    first: int
    last: int
    inner: tuple[_Definition, ...] = ()


@dataclass(slots=True)
class _Part:
    """Lines of a file that make a section."""

    names: tuple[str, ...]
    first: int
    last: int


def read_code(text: str, name: str, language: str) -> Document:
    """Source code in one of the languages of `SUFFIXES`."""
    starts = [0, *(found.end() for found in re.finditer("\n", text)), len(text)]
    root = _parser(language).parse(text.encode("utf-8", "replace")).root_node
    family = {"tsx": "typescript"}.get(language, language)
    parts: list[_Part] = []
    for part in _parts(tuple(_definitions(root, family, 0)), (), 0, len(starts) - 2, text, starts):
        words = text[starts[part.first] : starts[part.last + 1]]
        if parts and not any(map(str.isalnum, words)):  # a brace that closes what was before
            parts[-1].last = part.last
        else:
            parts.append(part)
    sections = tuple(_section(part, text, starts) for part in parts)
    return Document(title=name, text=text, sections=sections, form="code", metadata={"language": language})


def _section(part: _Part, text: str, starts: Sequence[int]) -> Section:
    start, stop = starts[part.first], starts[part.last + 1]
    spans = [(start, stop)] if part.names else paragraphs(text, start, stop)
    return Section(blocks=tuple(Block(*span, "lines") for span in spans), heading=" > ".join(part.names))


def _parts(
    definitions: tuple[_Definition, ...],
    names: tuple[str, ...],
    first: int,
    last: int,
    text: str,
    starts: Sequence[int],
) -> Iterator[_Part]:
    """Some lines, divided where definitions begin and end."""
    line = first
    for definition in definitions:
        if definition.first < line or definition.last > last:  # it shares a line with the one before
            continue
        if definition.first > line:
            yield _Part(names, line, definition.first - 1)
        own = (*names, definition.name)
        whole = text[starts[definition.first] : starts[definition.last + 1]]
        if definition.inner and estimate(whole) > TOKENS:
            yield from _parts(definition.inner, own, definition.first, definition.last, text, starts)
        else:
            yield _Part(own, definition.first, definition.last)
        line = definition.last + 1
    if line <= last:
        yield _Part(names, line, last)


@cache
def _parser(language: str) -> Parser:
    from tree_sitter import Language, Parser

    module = import_module(f"tree_sitter_{'typescript' if language == 'tsx' else language}")
    own = {"typescript": "language_typescript", "tsx": "language_tsx", "php": "language_php"}
    grammar: object = getattr(module, own.get(language, "language"))()
    return Parser(Language(grammar))


def _definitions(node: Node, family: str, depth: int) -> Iterator[_Definition]:
    """What is defined below a node, but not inside of functions."""
    lead = after = -1  # the comments that end just before the next node
    for child in node.children:
        first, last = child.start_point[0], child.end_point[0]
        if child.type in _BEFORE:
            lead = lead if after == first else first
            after = last + (child.end_point[1] > 0)  # some comments end at the start of the next line
            continue
        begin = lead if lead >= 0 and after == first else first
        last -= last > first and child.end_point[1] == 0
        if _is_definition(child, family):
            inner = tuple(_definitions(child, family, depth + 1)) if child.type in _OUTER[family] else ()
            yield _Definition(_name(child), begin, last, inner)
        elif depth < _DEEPEST and child.child_count:
            found = tuple(_definitions(child, family, depth + 1))
            if child.type in _WRAPPERS and len(found) == 1:
                found = (replace(found[0], first=begin, last=last),)
            yield from found
        lead = -1


def _is_definition(node: Node, family: str) -> bool:
    if not node.is_named:
        return False
    if node.type in ("lexical_declaration", "variable_declaration"):
        values = [declared.child_by_field_name("value") for declared in node.named_children]
        return len(values) == 1 and values[0] is not None and values[0].type in _ARROWS
    if node.type.endswith("_specifier"):  # `struct node *next` names one and defines none
        return node.type in _OUTER[family] | _INNER[family] and node.child_by_field_name("body") is not None
    return node.type in _OUTER[family] or node.type in _INNER[family]


def _name(node: Node) -> str:
    """What is defined, as code would call it."""
    if node.type == "impl_item":
        trait, kind = node.child_by_field_name("trait"), node.child_by_field_name("type")
        return f"{_text(trait)} for {_text(kind)}" if trait else _text(kind)
    receiver = node.child_by_field_name("receiver")
    owner = (
        f"{_text(receiver).strip('()').split()[-1].lstrip('*')}." if receiver and _text(receiver).strip("() ") else ""
    )
    inner: Node | None = node
    while inner and not inner.child_by_field_name("name"):
        declared = inner.child_by_field_name("declarator")
        if declared is None and inner.type in _LISTS:
            declared = next(iter(inner.named_children), None)
        if declared is None:
            break
        inner = declared
    named = inner.child_by_field_name("name") if inner else None
    return owner + _text(named or inner)


def _text(node: Node | None) -> str:
    """The first line of a node, shortened."""
    words = (node.text or b"").decode("utf-8", "replace") if node else ""
    return " ".join(words.split("\n", 1)[0].split())[:_LONGEST]
