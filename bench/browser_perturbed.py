"""MiniWoB++'s pages with other ids and classes, and with siblings in another order: the same task on a changed page.

Names are changed in the text of a page, in its markup, styles and scripts alike, so that it works as before. A task on
which it would not is told by its demonstration, which fails there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.browser_rig import miniwob

_STRING = re.compile(r"//[^\n]*|/\*.*?\*/|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|`(?:[^`\\]|\\.)*`", re.DOTALL)
_ATTRIBUTE = re.compile(r"""(\b(?:id|class|for)=\\?["']?)([\w-]+(?: [\w-]+)*)""")
_CALLED = re.compile(
    r"""((?:attr|setAttribute)\(\s*['"](?:id|class|for)['"],\s*['"]|"""
    r"""(?:addClass|removeClass|toggleClass|hasClass|getElementById|getElementsByClassName)\(\s*['"]|"""
    r"""(?:className|\.id)\s*=\s*['"])([\w-]+(?: [\w-]+)*)"""
)
_SELECTED = re.compile(r"([#.])([A-Za-z][\w-]*)")
_PART = re.compile(r"(<script>.*?</script>|<style>.*?</style>)", re.DOTALL)

SHUFFLE = """seed => {
    let state = seed + 1;
    const next = (count) => (state = (state * 48271) % 2147483647) % count;
    const shuffled = (parent) => {
        const children = [...parent.children];
        const told = [...parent.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const pairs = ["LABEL", "BR", "LEGEND", "STYLE", "INPUT", "TD", "TH"];
        const paired = children.some((child) => pairs.includes(child.tagName));
        const fixed = parent.closest("svg, select, .ui-dialog, .ui-accordion, [data-wheelnav]");
        if (children.length > 1 && !told && !paired && !fixed) {
            for (let left = children.length; left > 1; left--) parent.append(...children.splice(next(left), 1));
            parent.append(...children);
        }
    };
    const area = document.querySelector("#area");
    for (const parent of [area, ...area.querySelectorAll("*")]) shuffled(parent);
}"""
"""Puts the children of every element into another order, but for those that belong to their neighbours."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one task's page, each with its new one."""

    new: dict[str, str]

    def selector(self, css: str) -> str:
        """A selector for the changed page."""
        return _SELECTED.sub(lambda found: found[1] + self.of(found[2]), css)

    def of(self, name: str) -> str:
        """What a name is now; names that are put together from a beginning and a number keep their number."""
        if name in self.new:
            return self.new[name]
        stem = name.rstrip("0123456789")
        return self.new[stem] + name[len(stem) :] if stem in self.new else name

    def every(self, names: str) -> str:
        """The same for several, with spaces between them."""
        return " ".join(map(self.of, names.split(" ")))


def rewrite(path: str, text: str) -> str:
    """A page or a style sheet as it is served with other names; scripts besides stay as they are."""
    if path.startswith("/miniwob/"):
        names = names_of(Path(path).stem)
        return "".join(_part(part, names) for part in _PART.split(text))
    if path.startswith("/common/special/") and path.endswith(".css"):
        # several tasks share it: it says the same of the old names and of the new ones
        return text + "\n" + _shared().selector(_without_addresses(text))
    return text


def _part(part: str, names: Names) -> str:
    if part.startswith("<style>"):
        return names.selector(part)
    if not part.startswith("<script>"):
        return _ATTRIBUTE.sub(lambda found: found[1] + names.every(found[2]), part)
    called = _CALLED.sub(lambda found: found[1] + names.every(found[2]), part)
    return _STRING.sub(lambda found: _string(found[0], names), called)


def _string(text: str, names: Names) -> str:
    if text.startswith("/"):
        return text
    return names.selector(_ATTRIBUTE.sub(lambda found: found[1] + names.every(found[2]), text))


@cache
def names_of(task: str) -> Names:
    """The names that a task's page gives."""
    text = (miniwob() / "miniwob" / f"{task}.html").read_text(encoding="utf-8")
    found = {name for each in _ATTRIBUTE.findall(text) + _CALLED.findall(text) for name in each[1].split(" ")}
    return Names({name: _new(name) for name in sorted(found - _known()) if not name.startswith("ui-")})


@cache
def _shared() -> Names:
    """The names of all tasks: the new one of a name is the same everywhere."""
    folder = miniwob() / "miniwob"
    return Names({name: new for page in folder.glob("*.html") for name, new in names_of(page.stem).new.items()})


@cache
def _known() -> frozenset[str]:
    """Names that MiniWoB++'s own scripts and styles use on every page."""
    core = miniwob() / "core"
    text = (core / "core.js").read_text(encoding="utf-8") + (core / "core.css").read_text(encoding="utf-8")
    return frozenset({name for _, name in _SELECTED.findall(text)} | set(re.findall(r"""['"]([\w-]+)['"]""", text)))


def _new(name: str) -> str:
    """Another name, made of nothing that the old one says."""
    number = sum(ord(letter) * (place + 7) ** 2 for place, letter in enumerate(name))
    return f"x{number % 99_991:05d}" + ("-" if name.endswith("-") else "z")


def _without_addresses(css: str) -> str:
    """File names have dots, too."""
    return re.sub(r"url\([^)]*\)", lambda found: found[0].replace(".", "\\2e "), css)
