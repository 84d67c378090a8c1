"""What hands do: click, fill in, choose, press, scroll. Each either reaches the element that was meant or says why not.

Playwright waits until an element can be acted on and checks, in a world of its own that no page can reach into, that
what lies under the mouse is that element. Added to that: a point where nothing inside the element does something else,
quick words for what is disabled, covered or gone, and a look at which element really got the event. Knows no session:
what an action changed is seen there.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmos.tools.browser import failures
from llmos.tools.browser.changes import named
from llmos.tools.browser.elements import Box, Element
from llmos.tools.browser.settling import Deadline

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, Page

AIM_SECONDS = 0.8
"""How long something disabled, hidden or covered is given to become ready."""
ACT_SECONDS = 1.2
"""How long Playwright may take to act."""
_SET_AT_ONCE = frozenset({"color", "date", "datetime-local", "month", "range", "time", "week"})
_YES = frozenset({"1", "checked", "on", "true", "x", "yes"})
_NO = frozenset({"", "0", "false", "no", "off", "unchecked"})
_TICKED = frozenset({"checkbox", "radio", "switch", "menuitemcheckbox", "menuitemradio"})
_MOST_OPTIONS = 20

_OPTIONS = "(select) => [...select.options].map((o) => [o.label.replace(/\\s+/g, ' ').trim(), o.value, o.disabled])"
_IS_ON = """(element) => "checked" in element ? element.checked
  : ["aria-checked", "aria-pressed"].some((name) => element.getAttribute(name) === "true")"""
_LABEL = "(element) => [...element.labels].find((label) => label.getClientRects().length) || null"
_LABELS = """(other, element) => !!element.labels && [...element.labels].some((label) => label.contains(other))"""
_SCROLL = """(to) => {
  const down = to === "down" || to === "bottom";
  const can = (box) => down ? box.scrollTop + box.clientHeight < box.scrollHeight - 1 : box.scrollTop > 0;
  const page = document.scrollingElement || document.documentElement;
  let box = document.elementFromPoint(innerWidth / 2, innerHeight / 2);
  while (box && box.shadowRoot) {
    const inner = box.shadowRoot.elementFromPoint(innerWidth / 2, innerHeight / 2);
    if (!inner || inner === box) break;
    box = inner;
  }
  const whole = (at) => at === page || at === document.body;
  const scrolls = (at) => !whole(at) && /auto|scroll|overlay/.test(getComputedStyle(at).overflowY);
  while (box && !(scrolls(box) && can(box))) box = box.assignedSlot || box.parentElement || box.getRootNode().host;
  if (!box || can(page)) box = page;
  const height = box === page ? innerHeight : box.clientHeight;
  const { scrollTop, scrollHeight } = box;
  const top = { down: scrollTop + height * 0.85, up: scrollTop - height * 0.85, top: 0, bottom: scrollHeight }[to];
  box.scrollTo({ top, behavior: "instant" });
}"""


@dataclass(frozen=True, slots=True)
class Target:
    """An element that is acted on.

    Attributes:
        element: As it was last seen.
        handle: The live one.
        avoid: Boxes of other elements inside it, from its corner.
    """

    element: Element
    handle: ElementHandle
    avoid: tuple[Box, ...] = ()

    @property
    def name(self) -> str:
        """For messages."""
        return named(self.element)


def inside(element: Element, others: Mapping[str, Element]) -> tuple[Box, ...]:
    """Boxes of other elements that lie within an element, measured from its corner.

    Args:
        element: The one.
        others: All of the page.
    """
    left, top, width, height = element.box
    if not width or not height:
        return ()
    found: list[Box] = []
    for other in others.values():
        x, y, w, h = other.box
        if other.ref == element.ref or not w or not h or w * h >= width * height or other.frame != element.frame:
            continue
        if x >= left - 1 and y >= top - 1 and x + w <= left + width + 1 and y + h <= top + height + 1:
            found.append((x - left, y - top, w, h))
    return tuple(found)


async def click(target: Target, deadline: Deadline) -> bool:
    """Click an element.

    Returns:
        False where it was clicked, and what that set off had not arrived in time.

    Raises:
        BrowserError: `stale`, `covered`, `disabled`, `hidden`, `timeout`: it was not clicked.
    """
    from playwright.async_api import Error

    try:
        aim = await _aim(target, deadline)
        if aim["state"] == "label":
            label = (await target.handle.evaluate_handle(_LABEL)).as_element()
            if label is None:
                raise failures.hidden(target.name)
            await label.click(timeout=deadline.left(ACT_SECONDS) * 1000)
            return True
        # where it would click by itself it needs one question less
        position = None if aim["middle"] else cast("Any", {"x": aim["x"], "y": aim["y"]})
        await target.handle.click(position=position, timeout=deadline.left(ACT_SECONDS) * 1000)
    except Error as error:
        if failures.was_done(error.message):
            return False
        raise failures.of_action(error.message, target.name) from error
    return True


async def labels(target: Target, other: ElementHandle) -> bool:
    """Another element is a label of the one that was meant, or in such."""
    return bool(await other.evaluate(_LABELS, target.handle))


async def fill(target: Target, text: str, deadline: Deadline) -> None:
    """Put a text into a field, in place of what stands there; check or uncheck a box by `yes` or `no`.

    Raises:
        BrowserError: `unfit`: it is no field, or can't have this value; else as `click`.
    """
    from playwright.async_api import Error

    element = target.element
    if element.tag == "select":
        await choose(target, [text], deadline)
        return
    if element.role in _TICKED:
        await tick(target, text, deadline)
        return
    if "readonly" in element.states or "disabled" in element.states:
        await _ready_to_fill(target, deadline)
    seconds = deadline.left(ACT_SECONDS)
    at_once = element.kind in _SET_AT_ONCE or element.tag not in ("input", "textarea") or not text[-1:].isprintable()
    try:
        if at_once or not text:
            await target.handle.fill(text, timeout=seconds * 1000)
            return
        # the last character by key: pages listen for keys to suggest, format and check
        await target.handle.fill(text[:-1], timeout=seconds * 1000)
        await target.handle.type(text[-1], timeout=deadline.left(ACT_SECONDS) * 1000)
    except Error as error:
        if "Malformed value" in error.message or "Cannot type text into input" in error.message:
            raise failures.unfit(
                f"{target.name} can't have this value.", hint=f"It is a field of the kind {element.kind!r}."
            ) from error
        raise failures.of_action(error.message, target.name) from error


async def tick(target: Target, text: str, deadline: Deadline) -> None:
    """Bring a box or switch into a state, by clicking if it is in the other.

    Raises:
        BrowserError: `unfit`: it is not clear which state is meant; else as `click`.
    """
    from playwright.async_api import Error

    wanted = text.strip().lower()
    if wanted not in _YES | _NO:
        raise failures.unfit(f"{target.name} can't be {text[:80]!r}.", hint="Say yes or no, or click it.")
    try:
        is_on = bool(await target.handle.evaluate(_IS_ON))
    except Error as error:
        raise failures.of_action(error.message, target.name) from error
    if is_on != (wanted in _YES):
        await click(target, deadline)


async def choose(target: Target, wanted: Sequence[str], deadline: Deadline) -> None:
    """Choose options of a `<select>` by their texts; what was chosen before is not any more.

    Raises:
        BrowserError: `unfit`: there is no such option; else as `click`.
    """
    from playwright.async_api import Error

    try:
        rows = cast("list[tuple[str, str, bool]]", await target.handle.evaluate(_OPTIONS))
        indices = [_option(target, text, rows) for text in wanted]
        await target.handle.select_option(index=indices, timeout=deadline.left(ACT_SECONDS) * 1000)
    except Error as error:
        raise failures.of_action(error.message, target.name) from error


async def put_files(target: Target, paths: Sequence[Path], deadline: Deadline) -> None:
    """Give files to a file field, or to the picker that an element opens.

    Raises:
        BrowserError: `unfit`: it opens no picker; else as `click`.
    """
    from playwright.async_api import Error, TimeoutError

    element = target.element
    try:
        if element.tag == "input" and element.kind == "file":
            await target.handle.set_input_files(list(paths), timeout=deadline.left(ACT_SECONDS) * 1000)
            return
        frame = await target.handle.owner_frame()
        if frame is None:
            raise failures.stale(target.name)
        async with frame.page.expect_file_chooser(timeout=deadline.left(ACT_SECONDS) * 1000) as coming:
            await click(target, deadline)
        chooser = await coming.value
        await chooser.set_files(list(paths), timeout=deadline.left(ACT_SECONDS) * 1000)
    except TimeoutError as error:
        raise failures.unfit(
            f"{target.name} takes no files.", hint="Take the field or the button that files are chosen with."
        ) from error
    except Error as error:
        raise failures.of_action(error.message, target.name) from error


async def press(page: Page, keys: str, target: Target | None, deadline: Deadline) -> bool:
    """Press keys, one after another.

    Args:
        page: Where the focus is.
        keys: Such as `Enter`, `Control+A` or `ArrowDown ArrowDown Enter`.
        target: What has the focus then; None leaves it where it is.
        deadline: When it must be done.

    Returns:
        As `click`.

    Raises:
        BrowserError: `unfit`: there is no such key; else as `click`.
    """
    from playwright.async_api import Error

    what = target.name if target else "The page"
    try:
        for key in keys.split():
            if target is not None:
                await target.handle.press(key, timeout=deadline.left(ACT_SECONDS) * 1000)
            else:
                await page.keyboard.press(key)
    except Error as error:
        if "Unknown key" in error.message:
            raise failures.unfit(
                f"There is no key {keys[:40]!r}.", hint="Keys are called Enter, Tab, Escape, ArrowDown, Control+A, a."
            ) from error
        if target is not None and "Timeout" in error.message:  # the key is down before Playwright waits for anything
            return False
        raise failures.of_action(error.message, what) from error
    return True


async def scroll(page: Page, to: str) -> None:
    """Scroll what is in the middle of the window: `down` or `up` by most of a screen, or to the `top` or `bottom`."""
    from playwright.async_api import Error

    try:
        await page.main_frame.evaluate(_SCROLL, to)
    except Error as error:
        raise failures.of_action(error.message, "The page") from error


async def scroll_to(target: Target, deadline: Deadline) -> None:
    """Scroll an element into the window.

    Raises:
        BrowserError: As `click`.
    """
    from playwright.async_api import Error

    try:
        await target.handle.scroll_into_view_if_needed(timeout=deadline.left(ACT_SECONDS) * 1000)
    except Error as error:
        raise failures.of_action(error.message, target.name) from error


async def _aim(target: Target, deadline: Deadline) -> dict[str, Any]:
    limit = deadline.left(AIM_SECONDS) * 1000
    boxes = [list(box) for box in target.avoid]
    found = cast("dict[str, Any]", await target.handle.evaluate(_source("aim.js"), {"avoid": boxes, "limit": limit}))
    match found["state"]:
        case "gone":
            raise failures.stale(target.name)
        case "disabled":
            raise failures.disabled(target.name)
        case "hidden":
            raise failures.hidden(target.name)
        case "covered":
            raise failures.covered(target.name, str(found["by"])[:200])
        case _:
            return found


async def _ready_to_fill(target: Target, deadline: Deadline) -> None:
    """It could not be filled in when it was last seen: quick words if that is still so."""
    from playwright.async_api import Error

    try:
        await target.handle.wait_for_element_state("editable", timeout=deadline.left(AIM_SECONDS) * 1000)
    except Error as error:
        if failures.is_gone(error.message):
            raise failures.stale(target.name) from error
        raise failures.disabled(target.name) from error


def _option(target: Target, text: str, rows: Sequence[tuple[str, str, bool]]) -> int:
    wanted = " ".join(text.split())
    ways = (
        [label == wanted for label, _, _ in rows],
        [label.casefold() == wanted.casefold() for label, _, _ in rows],
        [value == wanted for _, value, _ in rows],
    )
    for fits in ways:
        if True in fits:
            index = fits.index(True)
            if rows[index][2]:
                raise failures.disabled(f"The option {text!r} of {target.name}")
            return index
    labels = [repr(label) for label, _, _ in rows[:_MOST_OPTIONS]]
    more = f" and {len(rows) - _MOST_OPTIONS} more" if len(rows) > _MOST_OPTIONS else ""
    raise failures.unfit(f"{target.name} has no option {text!r}.", hint=f"It has {', '.join(labels) or 'none'}{more}.")


@functools.cache
def _source(name: str) -> str:
    return importlib.resources.files("llmos.tools.browser").joinpath(name).read_text("utf-8")
