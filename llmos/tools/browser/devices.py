"""The browser as tools of the kernel: how agents reach pages, and what is checked between a proposal and its effect.

An element is acted on only if its document still has the origin that the call names, so what the policy agreed to is
what is done. A control that can't be taken back is left alone but by `browser_commit`, which a person agrees to with
everything that hangs on it in sight. What a page says comes back in a marked box that it can't get out of.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

from annotated_types import MaxLen, MinLen

from llmos.errors import BrowserError
from llmos.kernel.protocols import Access
from llmos.tools.browser import controls, failures, held, origins
from llmos.tools.browser.answering import acted, called, failed, output, whole, written
from llmos.tools.browser.checking import checked, free, is_field, may_hold, same, target, terms_of
from llmos.tools.browser.elements import Element, Observation, Outcome
from llmos.tools.browser.held import Held
from llmos.tools.browser.observation import found
from llmos.tools.output import Output
from llmos.tools.tool import Failed, tool

Where = Annotated[str, "the address, https://…", MinLen(3), MaxLen(2_000)]
On = Annotated[str, "the page's origin, https://host", MinLen(8), MaxLen(300)]
Ref = Annotated[str, "what is meant, such as e12", MaxLen(12)]
Texts = Annotated[dict[str, str], MaxLen(60)]

SECONDS = 30.0
"""For one action: the page's own patience is shorter."""
OPEN_SECONDS = 60.0
OUTPUT_BYTES = 32_768

_KEY = re.compile(
    r"(?:(?:Control|Shift|Alt|Meta|ControlOrMeta)\+){0,3}"
    r"(?:Enter|Tab|Escape|Space|Backspace|Delete|Home|End|PageUp|PageDown|Arrow(?:Up|Down|Left|Right)|F\d{1,2})"
    r"|(?:Control|Meta|ControlOrMeta)\+(?:Shift\+)?[ACVXYZacvxyz]"
)


# ---- Opening and looking


@tool(
    effect="external",
    steers=("url", "allow", "profile"),
    opens=("url", "allow"),
    seconds=OPEN_SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("open https://example.org in the browser", {"url": "https://example.org"}),
        ("browse the local app at http://localhost:8000", {"url": "http://localhost:8000", "allow": []}),
    ),
)
async def browser_open(
    access: Access,
    url: Where,
    allow: Annotated[list[str], "local origins that may be opened", MaxLen(10)] = [],  # noqa: B006 - never changed
    profile: Annotated[str, "logins to remember", MaxLen(64)] = "",
    headed: Annotated[bool, "in a window"] = False,
) -> Output:
    """Open a web browser at an address, to click and type on its pages."""
    origins.opened(url, origins.allowed(allow))
    opened = await held.here().open(access, allow=allow, profile=profile, headed=headed)
    done = await acted(opened, "browser_open", f"open {url}", lambda: opened.session.goto(url))
    if done.failed and done.value["reason"] != "timeout":  # what is slow goes on loading
        await held.here().close(access.pid)
    return done


@tool(
    effect="external",
    steers=("url",),
    opens=("url",),
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("go to https://example.org/news", {"url": "https://example.org/news"}),
        ("now open https://example.org/help", {"url": "https://example.org/help"}),
    ),
)
async def browser_goto(access: Access, url: Where) -> Output:
    """Go to another address in the browser that is open."""
    here = held.here().of(access.pid)
    return await acted(here, "browser_goto", f"go to {url}", lambda: here.session.goto(url))


@tool(
    effect="reads",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(("look at the page", {}), ("what does the browser show?", {})),
)
async def browser_look(access: Access) -> Output:
    """See the whole page that the browser shows now."""
    here = held.here().of(access.pid)
    try:
        page = await here.session.observe()
    except BrowserError as error:
        return failed(here, error)
    return whole(here, page)


@tool(
    effect="reads",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("find the row of Anna on the page", {"text": "Anna"}),
        ("where does the page say total?", {"text": "total"}),
    ),
)
async def browser_find(access: Access, text: Annotated[str, MinLen(1), MaxLen(200)]) -> Output:
    """Find a text anywhere on the page, with what can be clicked beside it."""
    here = held.here().of(access.pid)
    try:
        page = await here.session.observe()
    except BrowserError as error:
        return failed(here, error)
    return output(here, page, found(page, text), {})


@tool(
    effect="reads",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(("scroll down", {"to": "down"}), ("go to the end of the page", {"to": "bottom"})),
)
async def browser_scroll(
    access: Access, to: Annotated[str, "down, up, top, bottom or what to scroll to: e12", MaxLen(12)] = "down"
) -> Output:
    """Scroll the page that the browser shows."""
    here = held.here().of(access.pid)
    return await acted(here, "browser_scroll", f"scroll {to}", lambda: here.session.scroll(to))


@tool(
    effect="reads",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(("go back", {}), ("return to the page before", {})),
)
async def browser_back(access: Access) -> Output:
    """Go back to the page before this one."""
    here = held.here().of(access.pid)
    return await acted(here, "browser_back", "go back", lambda: here.session.back())


@tool(
    effect="reads",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(("turn to the second tab", {"number": 2}), ("show tab 1", {"number": 1})),
)
async def browser_tab(access: Access, number: int) -> Output:
    """Turn to another tab of the browser."""
    here = held.here().of(access.pid)
    return await acted(here, "browser_tab", f"turn to tab {number}", lambda: here.session.tab(number))


@tool(
    effect="reads",
    seconds=SECONDS,
    examples=(("close the browser", {}), ("end the browser session", {})),
)
async def browser_close(access: Access) -> str:
    """Close the browser that is open."""
    return "Closed." if await held.here().close(access.pid) else "No browser was open."


# ---- Acting


@tool(
    effect="external",
    steers=("origin",),
    confined="origin",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("click the button e12", {"origin": "https://example.org", "ref": "e12"}),
        ("press Next, which is e3", {"origin": "https://example.org", "ref": "e3"}),
    ),
)
async def browser_click(access: Access, origin: On, ref: Ref) -> Output:
    """Click something on the page: a button, a link, a box."""
    here = held.here().of(access.pid)

    async def act() -> Outcome:
        page, element = await target(here, origin, ref)
        free(here, page, element, controls.clicking(page, ref))
        return await here.session.click(ref)

    return await acted(here, "browser_click", f"click {called(here, ref)}", act)


@tool(
    effect="external",
    steers=("origin",),
    confined="origin",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("type Berlin into e4", {"origin": "https://example.org", "ref": "e4", "text": "Berlin"}),
        ("search for shoes", {"origin": "https://example.org", "ref": "e7", "text": "shoes", "submit": True}),
    ),
)
async def browser_fill(
    access: Access,
    origin: On,
    ref: Ref,
    text: Annotated[str, "what to type, or secret://name", MaxLen(10_000)],
    submit: Annotated[bool, "press Enter afterwards"] = False,
) -> Output:
    """Fill in a field of the page."""
    here = held.here().of(access.pid)

    async def act() -> Outcome:
        page, element = await target(here, origin, ref)
        secret = may_hold(here, page, element, text, access, origin)
        outcome = await here.session.fill(ref, text, secret=secret)
        if not submit:
            return outcome
        after, field = await target(here, origin, ref)
        free(here, after, controls.button_of(after, ref) or field, controls.submitting(after, ref))
        sent = await here.session.press("Enter", ref)
        return Outcome(changes=(*outcome.changes, *sent.changes), before=outcome.before, after=sent.after)

    return await acted(here, "browser_fill", f"fill in {called(here, ref)}: {written(text, access)}", act)


@tool(
    effect="external",
    steers=("origin",),
    confined="origin",
    seconds=OPEN_SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("name Ann, city Bonn", {"origin": "https://example.org", "values": {"e3": "Ann", "e4": "Bonn"}}),
        ("fill in the form with 42", {"origin": "https://example.org", "values": {"e9": "42"}}),
    ),
)
async def browser_fill_form(
    access: Access, origin: On, values: Annotated[Texts, "texts by field: {e3: Ann}", MinLen(1)]
) -> Output:
    """Fill in several fields of the page at once."""
    here = held.here().of(access.pid)

    async def act() -> Outcome:
        page = await here.session.observe()
        secret: set[str] = set()
        for ref, text in values.items():
            element = checked(here, page, origin, ref)
            if may_hold(here, page, element, text, access, origin):
                secret.add(ref)
        return await here.session.fill_form(values, secret=frozenset(secret))

    said = ", ".join(f"{called(here, ref)}: {written(text, access)}" for ref, text in values.items())
    return await acted(here, "browser_fill_form", f"fill in {said}", act)


@tool(
    effect="external",
    steers=("origin",),
    confined="origin",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("choose size 42 in e6", {"origin": "https://example.org", "ref": "e6", "options": ["42"]}),
        ("select Germany", {"origin": "https://example.org", "ref": "e2", "options": ["Germany"]}),
    ),
)
async def browser_select(
    access: Access, origin: On, ref: Ref, options: Annotated[list[str], "texts of options", MinLen(1), MaxLen(20)]
) -> Output:
    """Choose from a list on the page."""
    here = held.here().of(access.pid)

    async def act() -> Outcome:
        page, element = await target(here, origin, ref)
        free(here, page, element, controls.choosing(page, ref, options))
        return await here.session.select(ref, options)

    return await acted(here, "browser_select", f"choose {', '.join(options)} in {called(here, ref)}", act)


@tool(
    effect="external",
    steers=("origin",),
    confined="origin",
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("press Escape", {"origin": "https://example.org", "keys": "Escape"}),
        ("press Enter in e4", {"origin": "https://example.org", "keys": "Enter", "ref": "e4"}),
    ),
)
async def browser_press(
    access: Access,
    origin: On,
    keys: Annotated[str, "Enter, Tab, Escape, ArrowDown, Control+A, …", MinLen(1), MaxLen(100)],
    ref: Annotated[str, "where; empty for where the cursor is", MaxLen(12)] = "",
) -> Output:
    """Press keys that type no text."""
    here = held.here().of(access.pid)

    async def act() -> Outcome:
        if not keys.split() or not all(_KEY.fullmatch(key) for key in keys.split()):
            raise failures.unfit(f"{keys!r} can't be pressed.", hint="Press Enter, Tab or Escape; fill in texts.")
        page = await here.session.observe()
        at = ref or next((one.ref for one in page.elements.values() if "focused" in one.states), "")
        if at:
            element = checked(here, page, origin, at)
            free(here, page, element, controls.pressing(page, keys.split()[0], at))
        else:
            same(here.origin(page), origin, "The page")
        return await _pressed(here, keys, ref, origin)

    return await acted(here, "browser_press", f"press {keys}" + (f" in {called(here, ref)}" if ref else ""), act)


async def _pressed(here: Held, keys: str, ref: str, origin: str) -> Outcome:
    """Press keys one by one: after each that moves the focus, what has it now is judged."""
    first, *rest = keys.split()
    outcome = await here.session.press(first, ref)
    for key in rest:
        page = outcome.after
        at = next((one.ref for one in page.elements.values() if "focused" in one.states), "")
        if at:
            free(here, page, checked(here, page, origin, at), controls.pressing(page, key, at))
        else:
            same(here.origin(page), origin, "The page")
        following = await here.session.press(key)
        outcome = Outcome(changes=(*outcome.changes, *following.changes), before=outcome.before, after=following.after)
    return outcome


# ---- What can't be taken back


@tool(
    effect="irreversible",
    steers=("origin", "action"),
    confirmed=True,
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        (
            "place the order for € 49.90",
            {"origin": "https://example.org", "action": "Place order", "ref": "e9", "total": "€ 49.90"},
        ),
        ("send the message", {"origin": "https://example.org", "action": "Send", "ref": "e5"}),
    ),
)
async def browser_commit(
    access: Access,
    origin: On,
    action: Annotated[str, "what the control says", MaxLen(300)],
    ref: Ref,
    values: Annotated[Texts, "what stands in its form"] = {},  # noqa: B006 - never changed
    total: Annotated[str, "the amount the page asks for", MaxLen(40)] = "",
) -> Output:
    """Use a control that can't be taken back: pay, order, send, publish, delete, log in."""
    here = held.here().of(access.pid)
    agreed = {name: access.put_in.get(value, value) for name, value in values.items()}

    async def act() -> Outcome:
        page, element = await target(here, origin, ref)
        now = terms_of(here, page, element, origin)
        for name, was in (("action", action), ("values", agreed), ("total", total)):
            if now[name] != was:
                raise failures.unfit(
                    f"What was agreed to is not so any more: {name} is {_brief(now[name])}, not {_brief(was)}.",
                    hint="Propose it as it is now.",
                )
        if is_field(element):
            return await here.session.press("Enter", ref)
        return await here.session.click(ref)

    return await acted(here, "browser_commit", f"{action or 'submit'} ({called(here, ref)})", act)


@browser_commit.shows
def show_commit(access: Access, origin: str, action: str, ref: str, values: dict[str, str], total: str) -> str:
    """What a person agrees to, from the page as it was last seen."""
    here = held.peek(access.pid)
    page = here.session.seen if here is not None else None
    element = page.elements.get(ref) if page is not None else None
    if here is None or page is None or element is None:
        raise Failed(f"{ref!r} is not on the page.")
    now = terms_of(here, page, element, origin)
    if (now["action"], now["values"], now["total"]) != (action, values, total) or now["origin"] != origin:
        raise Failed("The page says something else by now.")
    goes = controls.goes_to(page, ref)
    lines = [
        f"on {origin} ({page.title[:80]!r}, {page.url[:200]})",
        f"{element.role} {action!r}"
        + (f" of the form {here_form!r}" if (here_form := _form_name(page, element)) else ""),
        *([f"sends to {goes[:200]}"] if goes else []),
        *(f"  {name}: {value}" for name, value in values.items()),
        *([f"total {total}"] if total else []),
    ]
    return "\n".join(lines)


@tool(
    effect="irreversible",
    steers=("origin", "path"),
    confirmed=True,
    seconds=SECONDS,
    output_bytes=OUTPUT_BYTES,
    examples=(
        ("upload cv.pdf", {"origin": "https://example.org", "ref": "e8", "path": "cv.pdf"}),
        ("attach photos/me.png", {"origin": "https://example.org", "ref": "e2", "path": "photos/me.png"}),
    ),
)
async def browser_upload(
    access: Access, origin: On, ref: Ref, path: Annotated[str, "a file of the workspace", MinLen(1), MaxLen(1_000)]
) -> Output:
    """Give a file of the workspace to the page."""
    here = held.here().of(access.pid)
    if "\n" in path:
        raise failures.unfit("One file at a time.")

    async def act() -> Outcome:
        await target(here, origin, ref)
        file = await asyncio.to_thread(lambda: (access.workspace / path).resolve())
        return await here.session.fill(ref, str(file))

    return await acted(here, "browser_upload", f"upload {path} to {called(here, ref)}", act)


@browser_upload.shows
def show_upload(access: Access, origin: str, path: str) -> str:
    """Which file goes where."""
    file = (access.workspace / path).resolve()
    size = f"{file.stat().st_size:,} bytes" if file.is_file() else "which is not there"
    return f"gives {str(file)!r} ({size}) to {origin}"


@browser_open.closes
async def close_browsers() -> None:
    """End the sessions of this loop."""
    await held.here().close_all()


def _form_name(page: Observation, element: Element) -> str:
    form = page.forms.get(element.form)
    return form.name[:80] if form is not None else ""


def _brief(value: object) -> str:
    said = repr(value)
    return said if len(said) <= 200 else f"{said[:199]}…"
