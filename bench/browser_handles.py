"""Which interactive elements of all MiniWoB++ tasks carry a working handle, by a ground truth of the browser's own.

Interactive is what Chromium's DevTools say: a native control, or an element with a listener for the mouse, a pointer or
touch. That is asked for independently of the script by which llmos sees pages. A handle works when it leads back to
that very element.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from bench.browser_rig import address, begin, chromium, miniwob, serving, task_names
from bench.report import Row
from llmos.tools.browser.launching import launch

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Page

    from llmos.tools.browser.eyes import Eyes

_SEED = 1
_REF = re.compile(r"\[ref=(\w+)\]")
_PRESSES = ["click", "dblclick", "contextmenu", "mousedown", "mouseup", "pointerdown", "pointerup"]
_LISTENED = frozenset([*_PRESSES, "touchstart", "touchend", "dragstart"])
_CONTROLS = frozenset(["A", "BUTTON", "INPUT", "SELECT", "TEXTAREA", "SUMMARY"])
_BARE = frozenset(["HTML", "BODY", "HEAD", "SCRIPT", "STYLE", "OPTION", "#document"])
_MARK = "function (number) { this.llmosBench = number; }"
_MARKED = "element => element.llmosBench ?? -1"
_DELEGATED = """([number, listened]) => {
    const found = [];
    const data = window.jQuery?._data;
    if (!data) return found;
    for (const owner of [document, ...document.querySelectorAll("*")]) {
        for (const handler of Object.values(data(owner, "events") ?? {}).flat()) {
            if (!handler.selector || !listened.includes(handler.origType)) continue;
            for (const element of jQuery(owner).find(handler.selector)) {
                if (!element.checkVisibility({ visibilityProperty: true }) || "llmosBench" in element) continue;
                element.llmosBench = number++;
                found.push(`<${element.localName} id='${element.id}' class='${element.className}'>`);
            }
        }
    }
    return found;
}"""


@dataclass(frozen=True, slots=True)
class Truth:
    """An interactive element: its number on the page, and what it looks like to people."""

    number: int
    shown: str


async def interactive(page: Page) -> list[Truth]:
    """The interactive elements of a page that can be seen, each marked with its number by a property of its object."""
    session = await page.context.new_cdp_session(page)
    try:
        nodes = await _snapshot(session)
        listening = await _listening(session)
        wanted = [node for node in nodes if _is_interactive(node, listening)]
        controls = {node["backend"] for node in wanted}
        wanted = [node for node in wanted if not (node["name"] == "LABEL" and await _labels(session, node, controls))]
        for number, node in enumerate(wanted):
            resolved = await _ask(session, "DOM.resolveNode", {"backendNodeId": node["backend"]})
            await _ask(
                session,
                "Runtime.callFunctionOn",
                {
                    "objectId": resolved["object"]["objectId"],
                    "functionDeclaration": _MARK,
                    "arguments": [{"value": number}],
                },
            )
        shown = [_shown(node) for node in wanted]
        # handlers that a page's jQuery keeps for the children of an element are known to nobody but to jQuery
        shown += await page.evaluate(_DELEGATED, [len(shown), sorted(_LISTENED)])
        return [Truth(number, text) for number, text in enumerate(shown)]
    finally:
        await session.detach()


async def _ask(session: CDPSession, method: str, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What Chromium's DevTools answer."""
    answer = await session.send(method, dict(asked or {}))  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return cast("dict[str, Any]", answer)


async def _snapshot(session: CDPSession) -> list[dict[str, Any]]:
    """Elements that are laid out and visible, with their attributes and whether Chromium takes them as clickable."""
    asked = {"computedStyles": ["visibility", "pointer-events"]}
    taken = await _ask(session, "DOMSnapshot.captureSnapshot", asked)
    strings: Sequence[str] = taken["strings"]
    document = taken["documents"][0]
    nodes, layout = document["nodes"], document["layout"]
    clickable = set(nodes["isClickable"]["index"])
    found: list[dict[str, Any]] = []
    for index, bounds, styles in zip(layout["nodeIndex"], layout["bounds"], layout["styles"], strict=True):
        if nodes["nodeType"][index] != 1 or not bounds[2] * bounds[3] or len(styles) < 2:
            continue
        visibility, pointer = (strings[style] for style in styles)
        if visibility != "visible" or pointer == "none":
            continue
        pairs = [strings[number] for number in nodes["attributes"][index]]
        found.append(
            {
                "backend": nodes["backendNodeId"][index],
                "name": strings[nodes["nodeName"][index]],
                "attributes": dict(zip(pairs[::2], pairs[1::2], strict=True)),
                "clickable": index in clickable,
            }
        )
    return found


async def _listening(session: CDPSession) -> set[int]:
    """Nodes with a listener for the mouse, a pointer or touch, by their backend numbers."""
    window = await _ask(session, "Runtime.evaluate", {"expression": "document"})
    asked = {"objectId": window["result"]["objectId"], "depth": -1, "pierce": True}
    answer = await _ask(session, "DOMDebugger.getEventListeners", asked)
    return {
        each["backendNodeId"] for each in answer["listeners"] if each["type"] in _LISTENED and "backendNodeId" in each
    }


def _is_interactive(node: Mapping[str, Any], listening: set[int]) -> bool:
    name, attributes = str(node["name"]).upper(), node["attributes"]
    if name in _BARE or attributes.get("type") == "hidden":
        return False
    if name in _CONTROLS or node["backend"] in listening or "contenteditable" in attributes:
        return True
    return bool(node["clickable"]) and name == "LABEL"


async def _labels(session: CDPSession, node: Mapping[str, Any], controls: set[int]) -> bool:
    """Whether a label belongs to a control that is itself among those found."""
    resolved = await _ask(session, "DOM.resolveNode", {"backendNodeId": node["backend"]})
    asked = {"objectId": resolved["object"]["objectId"], "functionDeclaration": "function () { return this.control; }"}
    control = (await _ask(session, "Runtime.callFunctionOn", asked))["result"]
    if "objectId" not in control:
        return False
    described = await _ask(session, "DOM.describeNode", {"objectId": control["objectId"]})
    return described["node"]["backendNodeId"] in controls


def _shown(node: Mapping[str, Any]) -> str:
    attributes = "".join(f" {key}={value!r}" for key, value in node["attributes"].items() if key in ("id", "class"))
    return f"<{str(node['name']).lower()}{attributes}>"


async def by_snapshot(page: Page) -> set[int]:
    """The numbers of the elements that Playwright's own snapshot has a reference to."""
    found: set[int] = set()
    for ref in _REF.findall(await page.aria_snapshot(mode="ai")):
        found.add(await page.locator(f"aria-ref={ref}").evaluate(_MARKED))
    return found


async def by_eyes(page: Page, eyes: Eyes) -> set[int]:
    """The numbers of the elements that llmos has a working handle for."""
    found: set[int] = set()
    for ref in (await eyes.observe(page)).elements:
        found.add(await (await eyes.handle(page, ref)).evaluate(_MARKED))
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """One task: its interactive elements, and those with a handle, by llmos and by the plain snapshot."""

    task: str
    truth: tuple[Truth, ...]
    ours: frozenset[int]
    plain: frozenset[int]

    @property
    def missing(self) -> list[Truth]:
        """Those that llmos has no handle for."""
        return [each for each in self.truth if each.number not in self.ours]


async def look(tasks: Sequence[str], *, seed: int = _SEED) -> list[Seen]:
    """Look at tasks, each on a fresh page."""
    from playwright.async_api import async_playwright

    from llmos.tools.browser.eyes import Eyes

    path, seen = chromium(), list[Seen]()
    with serving(miniwob()) as origin:
        async with async_playwright() as playwright:
            browser = await launch(playwright, path, headed=False, walled=False)
            context = await browser.new_context(viewport={"width": 1280, "height": 800})
            context.set_default_timeout(5_000)
            eyes = await Eyes.install(context)
            for task in tasks:
                page = await context.new_page()
                await page.goto(address(origin, task))
                await begin(page, seed)
                truth = await interactive(page)
                ours, plain = await by_eyes(page, eyes), await by_snapshot(page)
                seen.append(Seen(task, tuple(truth), frozenset(ours), frozenset(plain)))
                await page.close()
            await browser.close()
    return seen


def handles() -> list[Row]:
    """Interactive elements of all tasks with a working handle, and tasks where none is missing."""
    seen = asyncio.run(look(task_names()))
    every = sum(len(task.truth) for task in seen)
    ours = every - sum(len(task.missing) for task in seen)
    plain = sum(sum(each.number in task.plain for each in task.truth) for task in seen)
    missing = {task.task: [each.shown for each in task.missing] for task in seen if task.missing}
    return [
        Row(
            name=f"interactive elements with a working handle, {len(seen)} MiniWoB++ tasks",
            value=100 * ours / every,
            unit=f"% of {every}",
            peer="Playwright's snapshot",
            peer_value=100 * plain / every,
            goal="≥ 98 %",
            note="; ".join(f"{task}: {', '.join(shown[:3])}" for task, shown in missing.items()),
        ),
        Row(
            name="tasks where every interactive element has one",
            value=len(seen) - len(missing),
            unit="tasks",
            peer="Playwright's snapshot",
            peer_value=sum(all(each.number in task.plain for each in task.truth) for task in seen),
            goal="≥ 120",
        ),
    ]


GROUPS = (handles,)
