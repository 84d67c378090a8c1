"""Looks at pages: installs `page/*.js` in every document, puts what it reports for all frames together, keeps the refs.

A document numbers its elements for itself. Here each of those numbers gets a ref (`e12`) that no other element of the
browser context ever gets, whatever frame, tab or document it is in. Knows no text format and no action.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, cast

from llmos.errors import BrowserError
from llmos.tools.browser import failures
from llmos.tools.browser.elements import Box, Element, Form, Node, Observation

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, ElementHandle, Frame, Page

LOOK_SECONDS = 2.5
"""How long a page may take to be looked at; a frame that takes longer is left out."""
MOST_ELEMENTS = 20_000
"""How many elements of a document are looked at."""
_THIS = object()
_PARTS = ("kept", "heard", "names", "walk", "answers")

Dialogs = Literal["none", "inside", "outside"]
Clip = tuple[float, float, float | None, float | None]


class _Node(TypedDict, total=False):
    role: str
    text: str
    n: int
    frame: int
    level: int
    seen: bool
    modal: bool
    children: list[_Node]


class _Element(TypedDict):
    number: int
    role: str
    tag: str
    box: list[float]
    seen: bool
    name: NotRequired[str]
    value: NotRequired[str]
    states: NotRequired[list[str]]
    kind: NotRequired[str]
    label: NotRequired[str]
    near: NotRequired[str]
    options: NotRequired[list[str]]
    href: NotRequired[str]
    autocomplete: NotRequired[str]
    form: NotRequired[int]
    modal: NotRequired[bool]


class _Form(TypedDict):
    number: int
    action: str
    method: str
    name: str
    text: str


class _Place(TypedDict):
    number: int
    at: int
    left: float
    top: float
    inert: bool
    clip: list[float]
    dialogs: Dialogs


class _Look(TypedDict):
    id: str
    url: str
    title: str
    nodes: list[_Node]
    elements: list[_Element]
    forms: list[_Form]
    frames: list[_Place]
    cut: bool
    above: int
    below: int


@dataclass(slots=True)
class _Document:
    """A document that was looked at: its refs by the numbers that it gave itself."""

    frame: Frame
    refs: dict[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True, slots=True)
class _View:
    """What one frame reported, and where it is in the window."""

    document: _Document
    look: _Look
    offset: tuple[float, float]
    frames: Mapping[int, _View]


_Early = dict["Frame", "asyncio.Task[_Look]"]


class Eyes:
    """Sees the pages of one browser context.

    Made by `install`.
    """

    def __init__(self) -> None:
        self.name = f"_{secrets.token_hex(8)}"
        self.secret = secrets.token_hex(16)
        source = _source()
        self.script = f"({source})({json.dumps(self.name)}, {json.dumps(self.secret)}, {MOST_ELEMENTS});"
        self._documents: dict[str, _Document] = {}
        self._refs: dict[str, tuple[str, int]] = {}
        self._places: dict[Frame, tuple[str, int]] = {}
        self._ways: dict[Frame, tuple[Clip, Dialogs]] = {}
        self._latest = 0

    @classmethod
    async def install(cls, context: BrowserContext) -> Eyes:
        """See every document that the context opens from now on, and those that are open.

        Listeners that the scripts of an open document had added before are not known.
        """
        eyes = cls()
        await context.add_init_script(eyes.script)
        for page in context.pages:
            for frame in page.frames:
                with contextlib.suppress(BrowserError):
                    await eyes._enter(frame)
        return eyes

    async def observe(
        self, page: Page, *, tab: int = 1, tabs: Mapping[int, str] | None = None, notices: Sequence[str] = ()
    ) -> Observation:
        """Look at a page with all its frames.

        Args:
            page: What to look at.
            tab, tabs: The tab's number, and all tabs' titles by number, for the observation.
            notices: What happened besides, for the observation.

        Raises:
            BrowserError: `crashed`, `closed`, or `timeout` where the page's own script does not end.
        """
        told = list(notices)
        early = self._look_early(page)
        try:
            async with asyncio.timeout(2 * LOOK_SECONDS):
                view = await self._view(page.main_frame, (0, 0, None, None), (0.0, 0.0), "none", told, early)
        except TimeoutError:
            raise _busy(page.url) from None
        finally:
            for task in early.values():
                task.cancel()
        self._forget(page, view)
        return self._observation(view, tab, tabs or {}, told)

    async def handle(self, page: Page, ref: str) -> ElementHandle:
        """The element that a ref stands for, and no other.

        Raises:
            BrowserError: `stale` where it is gone, or never was on this page.
        """
        document, number = self._refs.get(ref, ("", 0))
        known = self._documents.get(document)
        if known is None or known.frame.page != page or known.frame.is_detached():
            raise failures.stale(repr(ref))
        from playwright.async_api import Error

        try:
            async with asyncio.timeout(LOOK_SECONDS):
                found = await known.frame.evaluate_handle(self._question("element", number, document))
        except TimeoutError:
            raise _busy(known.frame.url) from None
        except Error as error:
            raise _trouble(error.message, repr(ref)) from error
        element = found.as_element()
        if element is None:
            await found.dispose()
            raise failures.stale(repr(ref))
        return element

    def frame(self, ref: str) -> Frame | None:
        """The frame in which an element was seen; None for a ref that is not known."""
        document = self._documents.get(self._refs.get(ref, ("", 0))[0])
        return document.frame if document else None

    async def receivers(self, page: Page) -> tuple[str, ...]:
        """Which elements got the last press of the mouse or of a key since this was last asked.

        Returns:
            Refs from the innermost outwards; empty where nothing with a ref did.
        """
        frames = [one.frame for one in self._documents.values() if one.frame.page == page]
        answers = await asyncio.gather(*(self._pressed(frame) for frame in frames if not frame.is_detached()))
        if not answers:
            return ()
        _, key, numbers = max(answers, key=lambda answer: answer[0])
        document = self._documents.get(key)
        return tuple(document.refs[number] for number in numbers if number in document.refs) if document else ()

    async def received(self, page: Page) -> str:
        """Ref of the element that got the last press of the mouse or of a key since this was last asked, or ``""``."""
        return next(iter(await self.receivers(page)), "")

    def _question(self, *question: object) -> str:
        """A question to a document, as an expression: arguments pass through code that the page may have changed."""
        ask, secret = f"window[{json.dumps(self.name)}]", json.dumps(self.secret)
        asked = ", ".join("element" if part is _THIS else json.dumps(part) for part in question)
        return f"({ask} ? {ask}({secret}, {asked}) : undefined)"

    async def _ask(self, frame: Frame, *question: object) -> Any:  # noqa: ANN401  (what page/answers.js says)
        """Ask a document; enter it first where that program has not run in it.

        Raises:
            BrowserError: The document or the page is gone.
        """
        from playwright.async_api import Error

        for _ in range(3):
            try:
                answer = await frame.evaluate(self._question(*question))
            except Error as error:
                if not failures.is_gone(error.message) or frame.is_detached():
                    raise _trouble(error.message, f"the frame {frame.url!r}") from error
                continue  # it went to another document meanwhile
            if answer is not None:
                return answer
            await self._enter(frame)
        raise BrowserError(f"{frame.url!r} does not come to rest.", reason="timeout", hint="Look again in a moment.")

    async def _enter(self, frame: Frame) -> None:
        from playwright.async_api import Error

        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await frame.evaluate(self.script)
        except TimeoutError:
            raise _busy(frame.url) from None
        except Error as error:
            if not failures.is_gone(error.message):
                raise _trouble(error.message, f"the frame {frame.url!r}") from error

    def _look_early(self, page: Page) -> _Early:
        """Begin to look at frames that were seen before, all at once: most are where they were."""
        early: _Early = {}
        for frame, (clip, dialogs) in self._ways.items():
            if frame.page == page and not frame.is_detached():
                early[frame] = task = asyncio.ensure_future(self._look(frame, clip, dialogs))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return early

    async def _look(self, frame: Frame, clip: Clip, dialogs: Dialogs) -> _Look:
        return cast("_Look", json.loads(await self._ask(frame, "look", clip, dialogs)))

    async def _view(
        self, frame: Frame, clip: Clip, offset: tuple[float, float], dialogs: Dialogs, told: list[str], early: _Early
    ) -> _View:
        """What a frame and those in it look like now."""
        begun = early.get(frame) if self._ways.get(frame) == (clip, dialogs) else None
        look = await (begun or self._look(frame, clip, dialogs))
        if frame.parent_frame is not None:
            self._ways[frame] = clip, dialogs
        document = self._documents.setdefault(look["id"], _Document(frame))
        document.frame = frame
        if look["cut"]:
            told.append(f"The page is very big: only its first {MOST_ELEMENTS:,} elements were looked at.")
        views: dict[int, _View] = {}
        places = {place["number"]: place for place in look["frames"] if not place["inert"]}
        children = frame.child_frames if places else []
        found = await asyncio.gather(
            *(self._child(child, look["id"], places, offset, told, early) for child in children)
        )
        for number, view in found:
            if view:
                views[number] = view
        return _View(document, look, offset, views)

    async def _child(
        self,
        frame: Frame,
        around: str,
        places: Mapping[int, _Place],
        offset: tuple[float, float],
        told: list[str],
        early: _Early,
    ) -> tuple[int, _View | None]:
        """What a frame inside of another looks like; None where it is not to be seen, or does not answer."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                number = await self._place(frame, around)
                place = places.get(number)
                if place is None:
                    return number, None
                clip = place["clip"]
                inner = (offset[0] + place["left"], offset[1] + place["top"])
                return number, await self._view(
                    frame, (clip[0], clip[1], clip[2], clip[3]), inner, place["dialogs"], told, early
                )
        except TimeoutError:
            told.append(f"The frame {frame.url!r} did not answer and is left out.")
        except BrowserError as error:
            if error.reason in ("crashed", "closed") and frame.page.is_closed():
                raise
            if not frame.is_detached():
                told.append(f"The frame {frame.url!r} could not be looked at.")
        return 0, None

    async def _place(self, frame: Frame, around: str) -> int:
        """The number of the element that shows a frame, in the document around it."""
        known = self._places.get(frame)
        if known is not None and known[0] == around:
            return known[1]
        from playwright.async_api import Error

        parent = frame.parent_frame
        if parent is None:
            return 0
        try:
            element = await frame.frame_element()
            number = int(await parent.evaluate(f"element => {self._question('number', _THIS)}", element))
            await element.dispose()
        except Error as error:
            raise _trouble(error.message, f"the frame {frame.url!r}") from error
        self._places[frame] = (around, number)
        return number

    async def _pressed(self, frame: Frame) -> tuple[float, str, list[int]]:
        """When and where a document was pressed last."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                answer = json.loads(await self._ask(frame, "pressed"))
        except (TimeoutError, BrowserError):
            return 0.0, "", []  # gone or busy: whatever was pressed there can't be told
        return float(answer["at"]), str(answer["id"]), list(answer["path"])

    def _forget(self, page: Page, view: _View) -> None:
        """Drop the refs of documents that this page does not show any more."""
        alive = {id(one.document) for one in _views(view)}
        gone = [
            key
            for key, document in self._documents.items()
            if (document.frame.page == page and id(document) not in alive and _replaced(document, view))
            or document.frame.is_detached()
            or document.frame.page.is_closed()
        ]
        for key in gone:
            for ref in self._documents.pop(key).refs.values():
                del self._refs[ref]
        for frame in [frame for frame in self._places if frame.is_detached() or frame.page.is_closed()]:
            del self._places[frame]
            self._ways.pop(frame, None)

    def _ref(self, view: _View, number: int) -> str:
        ref = view.document.refs.get(number)
        if ref is None:
            self._latest += 1
            ref = view.document.refs[number] = f"e{self._latest}"
            self._refs[ref] = (view.look["id"], number)
        return ref

    def _observation(self, view: _View, tab: int, tabs: Mapping[int, str], notices: Sequence[str]) -> Observation:
        elements: dict[str, Element] = {}
        forms: dict[str, Form] = {}
        self._collect(view, elements, forms)
        root = self._nodes(view, view.look["nodes"])
        return Observation(
            url=view.document.frame.url,
            title=view.look["title"],
            tab=tab,
            tabs=dict(tabs),
            root=root,
            elements=elements,
            forms=forms,
            above=view.look["above"],
            below=view.look["below"],
            notices=tuple(notices),
        )

    def _collect(self, view: _View, elements: dict[str, Element], forms: dict[str, Form]) -> None:
        """Add a frame's elements and forms, in the order of the document, frames in their places."""
        look = view.look
        keys = {form["number"]: f"f{len(forms) + at}" for at, form in enumerate(look["forms"], start=1)}
        fields: dict[int, list[str]] = {number: [] for number in keys}
        for form in look["forms"]:  # their places before those of the frames inside
            forms[keys[form["number"]]] = _form(form, keys[form["number"]], (), look["url"])
        frames = [place for place in look["frames"] if place["number"] in view.frames]
        for at, record in enumerate(look["elements"]):
            while frames and frames[0]["at"] <= at:
                self._collect(view.frames[frames.pop(0)["number"]], elements, forms)
            element = _element(record, self._ref(view, record["number"]), keys, view)
            elements[element.ref] = element
            if element.form:
                fields[record.get("form", 0)].append(element.ref)
        for place in frames:
            self._collect(view.frames[place["number"]], elements, forms)
        for form in look["forms"]:
            forms[keys[form["number"]]] = _form(form, keys[form["number"]], fields[form["number"]], look["url"])

    def _nodes(self, view: _View, raw: list[_Node]) -> tuple[Node, ...]:
        return tuple(self._node(view, one) for one in raw)

    def _node(self, view: _View, raw: _Node) -> Node:
        children = raw.get("children")
        nodes = self._nodes(view, children) if children else ()
        text = raw.get("text", "")
        if "frame" in raw:
            inner = view.frames.get(raw["frame"])
            if inner:
                nodes = self._nodes(inner, inner.look["nodes"])
                text = text or inner.look["title"]
        return Node(
            role=raw.get("role", ""),
            text=text,
            ref=self._ref(view, raw["n"]) if "n" in raw else "",
            children=nodes,
            level=raw.get("level", 0),
            seen=raw.get("seen", False) or any(node.seen for node in nodes),
            modal=raw.get("modal", False),
        )


def _views(view: _View) -> Iterator[_View]:
    yield view
    for inner in view.frames.values():
        yield from _views(inner)


def _replaced(document: _Document, view: _View) -> bool:
    """Its frame shows another document now; one that only did not answer keeps its refs."""
    return any(one.document.frame is document.frame for one in _views(view))


def _element(raw: _Element, ref: str, forms: Mapping[int, str], view: _View) -> Element:
    left, top, width, height = raw["box"]
    box: Box = (left + view.offset[0], top + view.offset[1], width, height)
    return Element(
        ref=ref,
        role=raw["role"],
        name=raw.get("name", ""),
        value=raw.get("value", ""),
        states=frozenset(raw.get("states", ())),
        tag=raw["tag"],
        kind=raw.get("kind", ""),
        label=raw.get("label", ""),
        near=raw.get("near", ""),
        options=tuple(raw.get("options", ())),
        href=raw.get("href", ""),
        autocomplete=raw.get("autocomplete", ""),
        form=forms.get(raw.get("form", 0), ""),
        frame=view.look["url"],
        box=box,
        seen=raw["seen"],
        modal=raw.get("modal", False),
    )


def _form(raw: _Form, key: str, fields: Sequence[str], url: str) -> Form:
    return Form(
        key=key,
        action=raw["action"] or url,
        method=raw["method"],
        name=raw["name"],
        fields=tuple(fields),
        text=raw["text"],
    )


def _busy(url: str) -> BrowserError:
    return BrowserError(
        f"{url!r} does not answer: a script on it is busy.",
        reason="timeout",
        hint="Look again in a moment, or go back.",
    )


def _trouble(message: str, what: str) -> BrowserError:
    if failures.is_crash(message):
        return failures.crashed("The page")
    if failures.is_closed(message):
        return BrowserError(f"The tab was closed while {what} was looked at.", reason="closed", hint=failures.LOOK)
    if failures.is_gone(message):
        return failures.stale(what)
    return BrowserError(f"{what} could not be looked at: {failures.first_line(message)}.", reason="unreachable")


@cache
def _source() -> str:
    folder = files("llmos.tools.browser") / "page"
    parts = [(folder / f"{part}.js").read_text(encoding="utf-8") for part in _PARTS]
    entered = "if (Object.getOwnPropertyDescriptor(window, name)) return;"
    return "\n".join(['(name, secret, limit) => {\n"use strict";', entered, *parts, "}"])
