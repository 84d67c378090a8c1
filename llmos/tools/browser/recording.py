"""Records what a person does in a browser: what was clicked, typed, chosen and pressed, on what kind of element.

`recording.js` reports from every document, frames and shadow roots too. Elements are described by the eyes' own walk,
as they were before the page took notice. What is typed as a password, a card's data or a one-time code never arrives
here. Not recorded: hovering, dragging, the right and the double click, and what a page's scripts do by themselves.
Knows no skill: `llmos.agents.operator.learning` makes one of it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, cast

from llmos.tools.browser.eyes import Eyes
from llmos.tools.browser.origins import origin_or_none
from llmos.tools.browser.plain import as_data

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page, Request

Action = Literal["click", "fill", "select", "press", "goto"]
Data = Mapping[str, Any]

_CARET = frozenset({"ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"})
_MAX_ACTS = 1_000
_HEADERS_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that a person did.

    Attributes:
        action: What.
        ref: On which element of `page`; empty for `goto`.
        page: The document as it was before, as JSON data with the fields of an observation; empty for `goto`. Fields
            are without their values.
        url: The address that the tab showed then; of `goto`, where it went.
        value: What the field held then, or the keys; empty for a private value.
        options: What was chosen.
        private: It is a password, a card's data or a one-time code, which nobody is told.
        said: For a private value, where it stands in the task's words: start and end.
        chosen: Of a box, whether it is chosen after it; None for what is no box.
    """

    action: Action
    ref: str = ""
    page: Data = field(default_factory=dict[str, Any])
    url: str = ""
    value: str = ""
    options: tuple[str, ...] = ()
    private: bool = False
    said: tuple[int, int] | None = None
    chosen: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """How a task was done.

    Attributes:
        task: The task's words.
        url: Where it began.
        acts: In their order.
        end: The page at the end, as JSON data; empty where nobody could look any more.
    """

    task: str
    url: str
    acts: tuple[Act, ...]
    end: Data = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class _Step:
    """An act with what is needed to put it together with those around it."""

    act: Act
    gesture: tuple[str, int]
    element: tuple[str, int]
    text: bool = False
    page: Page | None = None
    pointed: bool = False


class Recorder:
    """Records in one browser context.

    Made by `install`.
    """

    def __init__(self, eyes: Eyes, task: str, *, scripted: bool) -> None:
        self._eyes, self._task = eyes, task
        self._key, self._channel = secrets.token_hex(16), f"_{secrets.token_hex(8)}"
        name, secret = eyes.name, eyes.secret  # asks documents as they do
        given = [name, secret, self._channel, self._key, task, scripted]
        source = (files("llmos.tools.browser") / "recording.js").read_text(encoding="utf-8")
        self._script = f"({source.strip()})({', '.join(map(json.dumps, given))});"
        self._looks: dict[tuple[str, int], Data] = {}
        self._steps: list[_Step] = []
        self._begun = ""
        self._page: Page | None = None
        self._asked: dict[asyncio.Task[bool], _Step] = {}
        self._undo: list[Any] = []

    @classmethod
    async def install(cls, context: BrowserContext, eyes: Eyes, *, task: str = "", scripted: bool = False) -> Recorder:
        """Listen in every document that the context opens from now on. Nothing is kept before `begin`.

        Args:
            context: Where.
            eyes: What sees its pages; installed before.
            task: The words of what will be shown: a private value is looked for in them before it is thrown away.
            scripted: What a program puts into fields counts, too, for tests that fill in without a keyboard. A page
                could make up such input.
        """
        recorder = cls(eyes, task, scripted=scripted)
        bind = cast("Callable[[str, Callable[..., None]], Awaitable[Any]]", context.expose_binding)  # pyright: ignore[reportUnknownMemberType]
        recorder._undo.append(await bind(recorder._channel, recorder._told))
        recorder._undo.append(await context.add_init_script(recorder._script))
        context.on("request", recorder._requested)
        return recorder

    async def begin(self, page: Page) -> None:
        """What is done from now on counts."""
        await self._enter(page)
        self._steps.clear()
        self._page, self._begun = page, page.url

    async def _enter(self, page: Page) -> None:
        """Listen in documents that were open before the recorder came."""
        from playwright.async_api import Error

        for frame in page.frames:
            with suppress(Error):  # it goes away: its next document is heard
                await frame.evaluate(self._script)

    async def end(self) -> Demonstration:
        """Stop, and put together what was done."""
        from playwright.async_api import Error

        from llmos.errors import BrowserError

        for task, step in self._asked.items():
            if not await task:
                self._steps = [one for one in self._steps if one is not step]
        self._asked.clear()
        end: Data = {}
        page = next((step.page for step in reversed(self._steps) if step.page is not None), self._page)
        if page is not None and not page.is_closed():
            with suppress(BrowserError):
                seen = await self._eyes.observe(page)
                end = _blank(as_data(seen, origin=lambda element: str(origin_or_none(element.frame or seen.url) or "")))
        for one in self._undo:
            with suppress(Error):  # the browser is closed
                await one.__aexit__(None, None, None)
        self._undo.clear()
        return Demonstration(task=self._task, url=self._begun, acts=_distilled(self._steps), end=end)

    def _requested(self, request: Request) -> None:
        """An address was typed into the bar, or a bookmark chosen: no page asked for it."""
        if not request.is_navigation_request() or request.redirected_from is not None or not self._begun:
            return
        if request.frame.parent_frame is None:
            act = Act(action="goto", url=request.url)
            step = _Step(act, ("", len(self._steps)), ("", 0), page=request.frame.page)
            self._steps.append(step)
            self._asked[asyncio.create_task(_is_typed(request))] = step

    def _told(self, source: Mapping[str, Any], text: object) -> None:
        """What a document reports; without the key it is the page's own idea."""
        try:
            message: Any = json.loads(str(text))
        except ValueError:
            return
        if not isinstance(message, dict) or cast("Data", message).get("key") != self._key:
            return
        step = self._read(cast("Data", message), cast("Page", source["page"]))
        if step is not None and len(self._steps) < _MAX_ACTS:
            self._steps.append(step)

    def _read(self, message: Data, page: Page) -> _Step | None:
        look = message.get("look")
        number = int(message["gesture"])
        if look is not None:
            self._looks[str(id(page)), number] = look
        seen = look or self._looks.get((str(id(page)), number))
        if seen is None or not self._begun:
            return None
        known = {int(one["number"]): one for one in seen["elements"]}
        control = int(message.get("control") or 0)
        found = next((one for one in message["numbers"] if one in known), control if control in known else 0)
        if not found:
            return None
        pointed = message["kind"] == "point"
        said = (int(message.get("start", -1)), int(message.get("end", -1)))
        act = Act(
            action="click" if pointed else message["kind"],
            ref=f"e{found}",
            page=_page(seen, page.url),
            url=page.url,
            value=str(message.get("value") or message.get("keys") or ""),
            options=tuple(str(one) for one in message.get("options") or ()),
            private=bool(message.get("private")),
            said=said if said[0] >= 0 else None,
            chosen=message.get("chosen") if known[found]["role"] in _BOXES else None,
        )
        return _Step(act, (seen["id"], number), (seen["id"], found), bool(message.get("text")), page, pointed)


async def _is_typed(request: Request) -> bool:
    """Whether an address was asked for by no page (Fetch Metadata Request Headers, W3C)."""
    from playwright.async_api import Error

    try:
        async with asyncio.timeout(_HEADERS_SECONDS):
            return (await request.all_headers()).get("sec-fetch-site") == "none"
    except (Error, TimeoutError):
        return False  # it was given up before it was sent


_BOXES = frozenset({"checkbox", "radio", "switch"})


def _page(look: Data, url: str) -> Data:
    """What a document reported, with the fields of an observation."""
    origin = str(origin_or_none(str(look["url"])) or origin_or_none(url) or "")
    elements = {f"e{one['number']}": _element(one, str(look["url"]), origin) for one in look["elements"]}
    return {
        "url": url,
        "title": look["title"],
        "root": [_node(one) for one in look["nodes"]],
        "elements": elements,
        "forms": {f"f{one['number']}": {**one, "key": f"f{one['number']}"} for one in look["forms"]},
    }


def _blank(page: Data) -> Data:
    """A page without what stands in its fields."""
    elements = {
        ref: {name: value for name, value in one.items() if name != "value" or one.get("tag") == "select"}
        for ref, one in cast("Mapping[str, Data]", page["elements"]).items()
    }
    return {**page, "elements": elements}


def _element(raw: Data, frame: str, origin: str) -> Data:
    kept = {name: value for name, value in raw.items() if name not in ("number", "form")}
    form = {"form": f"f{raw['form']}"} if raw.get("form") else {}
    return {**kept, **form, "ref": f"e{raw['number']}", "frame": frame, "origin": origin}


def _node(raw: Data) -> Data:
    found = {name: value for name, value in raw.items() if name not in ("n", "frame", "children")}
    if "n" in raw:
        found["ref"] = f"e{raw['n']}"
    return {**found, "children": [_node(one) for one in raw.get("children") or ()]}


def _distilled(steps: Sequence[_Step]) -> tuple[Act, ...]:
    """What was meant: without the clicks that only lead into a field, one filling for all its letters, and so on."""
    kept: list[_Step] = []
    for step in steps:
        _add(kept, step)
    acts = [step.act for step in kept if not _is_idle(step)]
    return tuple(acts)


def _add(kept: list[_Step], step: _Step) -> None:
    last = kept[-1] if kept else None
    action = step.act.action
    if last is None:
        kept.append(step)
        return
    together = last.gesture == step.gesture
    if action == "click" and together:
        if last.pointed or (last.act.action == "press" and not last.text):
            kept[-1] = step  # Enter on a button is a click, and so is most of what is pointed at
        return  # a label clicks its control, Enter sends the form
    if action in ("fill", "select"):
        while kept and kept[-1].element == step.element and kept[-1].act.action in ("click", action):
            step = replace(step, act=replace(step.act, page=kept.pop().act.page))
        if kept and kept[-1].act.action == "press" and kept[-1].gesture == step.gesture:
            kept.pop()  # it wrote a line's end, or turned to another option
            _add(kept, step)
            return
    kept.append(step)


def _is_idle(step: _Step) -> bool:
    """Whether it did nothing that counts: the caret was moved, a list was opened."""
    act = step.act
    element: Data = act.page.get("elements", {}).get(act.ref, {}) if act.action != "goto" else {}
    if act.action == "press" and step.text and act.value in _CARET:
        return element.get("role") != "combobox" and "options" not in element
    return act.action == "click" and element.get("tag") == "select"
