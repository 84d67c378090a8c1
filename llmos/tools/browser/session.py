"""A session: what an agent may do in one browser context, and what that did.

Every action gives the page as it is afterwards and says what changed. What came up besides (a dialog, a download, a
new tab, a blocked address) stands in the notices of the next observation. Knows no model, no policy and no secret's
name; `context` knows how a page or a browser comes back that crashed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.errors import BrowserError
from llmos.tools.browser import acting, failures, origins, pictures, settling
from llmos.tools.browser.acting import Target
from llmos.tools.browser.changes import changes, check_values
from llmos.tools.browser.context import Context, over
from llmos.tools.browser.downloads import Download
from llmos.tools.browser.elements import Box, Element, Observation, Outcome
from llmos.tools.browser.eyes import Eyes
from llmos.tools.browser.options import Ground, Options, Way
from llmos.tools.browser.settling import Before, Deadline
from llmos.tools.browser.tabs import Tab
from llmos.tools.browser.uploads import uploads

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, ElementHandle, Frame, Page, StorageState

_LOOK_SECONDS = 0.4
"""For the look after an action that took all of its time."""
_SETTLING = 0.8
"""The part of an action's time after which what it set off is not waited for any more, but looked at."""
_PICTURE_SECONDS = 5.0
_OPTION_ROLES = frozenset({"option", "menuitem", "menuitemradio", "menuitemcheckbox", "treeitem", "listitem"})
_LISTED = 20
_STARTS = 2
_LOADING = "What that set off is not over yet: look again in a moment."

Doing = Callable[[Tab, Deadline], Awaitable["Frame"]]
"""Does something on a tab within a time, and says in which frame."""


class Session:
    """One browser context and its tabs. Opened by `Browser.open`; calls are carried out one at a time.

    Args:
        ground: Makes contexts.
        options: How it is opened.
        way: To the network; None is the machine's own, for tests.
        state: What the browser remembers from before.
        left: Is called when it was closed.
    """

    def __init__(
        self,
        ground: Ground,
        options: Options,
        *,
        way: Way | None,
        state: StorageState | None,
        left: Callable[[Session], None],
    ) -> None:
        self._options = options
        self._allow = origins.allowed(options.allow)
        self._context = Context(ground, options, way=way, state=state)
        self._tabs = self._context.tabs
        self._left = left
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Make the context and its first tab.

        Raises:
            BrowserError: `missing`: there is no browser that starts.
            StorageError: The folder for downloads can't be made.
        """
        await self._context.start()

    # ---- What is there

    @property
    def context(self) -> BrowserContext:
        """Playwright's, for recording and the like. Another one after a crash.

        Raises:
            BrowserError: `closed`: the session is over.
        """
        return self._context.playwright

    @property
    def page(self) -> Page:
        """Playwright's page of the current tab.

        Raises:
            BrowserError: `closed`: there is none.
        """
        return self._tabs.current.page

    @property
    def eyes(self) -> Eyes:
        """What sees the pages of this session."""
        return self._context.eyes

    @property
    def options(self) -> Options:
        """How it was opened."""
        return self._options

    @property
    def seen(self) -> Observation | None:
        """The current tab as it was last looked at; None before that."""
        return self._context.seen.get(self._tabs.number)

    @property
    def downloads(self) -> tuple[Download, ...]:
        """Files that were downloaded, oldest first."""
        return self._context.downloads.finished

    @property
    def paused(self) -> bool:
        """A person has the browser."""
        return self._tabs.paused

    @property
    def closed(self) -> bool:
        """It is over."""
        return self._context.closed

    async def observe(self) -> Observation:
        """The current tab as it is now. What crashed is opened again first, a page on its way is waited for.

        Raises:
            BrowserError: `closed`, `crashed`, `timeout`: it can't be seen.
        """
        async with self._lock:
            await self._context.revive()
            tab = self._tabs.current
            if tab.leaving is not None and not await settling.arrival(tab, Deadline(self._options.patience)):
                self._context.notices.append("The page is still loading.")
            return await self._context.look()

    # ---- What can be done

    async def goto(self, url: str, *, accept: str | None = None) -> Outcome:
        """Open an address in the current tab.

        Args:
            url: http or https.
            accept: As for `click`. A page that asks whether to leave it is only left if this is given.

        Raises:
            BrowserError: `blocked`, `unreachable`, `timeout` (it goes on loading), `unchanged` (the page asked whether
                to leave it).
        """
        address = str(origins.opened(url, self._allow))

        async def go(tab: Tab, deadline: Deadline) -> Frame:
            await self._open(tab, address, accept, deadline)
            return tab.page.main_frame

        async with self._lock:
            self._refuse_if_paused()
            for _ in range(_STARTS - 1):
                try:
                    return await self._go(go, accept)
                except BrowserError as error:
                    if error.reason != "crashed":
                        raise
            return await self._go(go, accept)

    async def click(self, ref: str, *, accept: str | None = None) -> Outcome:
        """Click an element.

        Args:
            ref: From an observation.
            accept: Accept the dialog that comes up, a prompt with this text; None dismisses it.

        Raises:
            BrowserError: `stale`, `covered`, `disabled`, `hidden`, `timeout`, `crashed`, `closed`: it was not clicked,
                or the page is gone.
        """

        async def do(tab: Tab, deadline: Deadline) -> Frame:
            target = await self._target(tab, ref)
            if not await acting.click(target, deadline):
                self._context.notices.append(_LOADING)
            clicked.append(target)
            return self._frame_of(tab, ref)

        clicked: list[Target] = []
        async with self._lock:
            return await self._act(do, accept=accept, clicked=clicked)

    async def fill(
        self, ref: str, text: str, *, submit: bool = False, secret: bool = False, accept: str | None = None
    ) -> Outcome:
        """Fill in a field, in place of what stands there.

        Args:
            ref: From an observation.
            text: For a box `yes` or `no`; for a list the text of an option; for a file the path of one that may be
                uploaded, several on a line each.
            submit: Press Enter afterwards.
            secret: Its value is shown nowhere: not in observations, not in pictures.
            accept: As for `click`.

        Raises:
            BrowserError: `unfit`, `unchanged` (it holds what it held before); else as `click`.
        """

        async def do(tab: Tab, deadline: Deadline) -> Frame:
            if secret:
                self._context.secret.add(ref)
            target = await self._fill(tab, ref, text, deadline)
            frame = self._frame_of(tab, ref)
            if submit and not await acting.press(tab.page, "Enter", target, deadline):
                self._context.notices.append(_LOADING)
            return frame

        async with self._lock:
            outcome = await self._act(do, accept=accept)
            return outcome if submit else check_values(outcome, {ref: text})

    async def fill_form(self, values: Mapping[str, str], *, secret: frozenset[str] = frozenset()) -> Outcome:
        """Fill in several fields, one after another.

        Args:
            values: Texts by reference, as for `fill`.
            secret: References of those whose values are shown nowhere.

        Raises:
            BrowserError: As `fill`; those before it in the mapping are filled in.
        """

        async def do(tab: Tab, _: Deadline) -> Frame:
            self._context.secret |= secret
            done: list[str] = []
            for ref, text in values.items():
                try:
                    await self._fill(tab, ref, text, Deadline(self._options.patience))
                except BrowserError as error:
                    filled = f" Filled in before it: {', '.join(done)}." if done else ""
                    raise BrowserError(error.message + filled, reason=error.reason, hint=error.hint) from error
                done.append(ref)
            return self._frame_of(tab, done[-1]) if done else tab.page.main_frame

        async with self._lock:
            return check_values(await self._act(do), values)

    async def select(self, ref: str, options: Sequence[str]) -> Outcome:
        """Choose from a list by texts; from one that a page has made itself, by opening it and clicking.

        Args:
            ref: From an observation.
            options: Texts of options; more than one only where the list takes several.

        Raises:
            BrowserError: `unfit`: there is no such option; else as `click`.
        """

        async def do(tab: Tab, deadline: Deadline) -> Frame:
            target = await self._target(tab, ref)
            frame = self._frame_of(tab, ref)
            if target.element.tag == "select":
                await acting.choose(target, options, deadline)
            else:
                for text in options:
                    await self._pick(tab, target, frame, text, deadline)
            return frame

        async with self._lock:
            return await self._act(do)

    async def press(self, keys: str, ref: str = "", *, accept: str | None = None) -> Outcome:
        """Press keys.

        Args:
            keys: One or more, with blanks between: `Enter`, `Control+A`, `ArrowDown ArrowDown Enter`.
            ref: What has the focus then; empty leaves it where it is.
            accept: As for `click`.

        Raises:
            BrowserError: `unfit`: there is no such key; else as `click`.
        """

        async def do(tab: Tab, deadline: Deadline) -> Frame:
            target = await self._target(tab, ref) if ref else None
            frame = self._frame_of(tab, ref)
            if not await acting.press(tab.page, keys, target, deadline):
                self._context.notices.append(_LOADING)
            return frame

        async with self._lock:
            return await self._act(do, accept=accept)

    async def scroll(self, to: str = "down") -> Outcome:
        """Scroll.

        Args:
            to: `down` or `up` by most of a screen, to the `top` or `bottom`, or to an element by its reference.

        Raises:
            BrowserError: As `click`.
        """

        async def do(tab: Tab, deadline: Deadline) -> Frame:
            if to in ("down", "up", "top", "bottom"):
                await acting.scroll(tab.page, to)
                return tab.page.main_frame
            await acting.scroll_to(await self._target(tab, to), deadline)
            return self._frame_of(tab, to)

        async with self._lock:
            return await self._act(do)

    async def back(self, *, accept: str | None = None) -> Outcome:
        """Go back to the page before.

        Args:
            accept: As for `goto`.

        Raises:
            BrowserError: `unfit`: there is none before; else as `goto`.
        """
        from playwright.async_api import Error

        async def do(tab: Tab, deadline: Deadline) -> Frame:
            documents, dialogs = tab.documents, self._tabs.dialogs
            try:
                await tab.page.go_back(wait_until="commit", timeout=deadline.left() * 1000)
            except Error as error:
                if self._tabs.dialogs > dialogs and accept is None:
                    raise _not_left() from error
                raise failures.of_navigation(error.message, "the page before") from error
            if tab.page.url == "about:blank":  # where every tab begins
                await tab.page.go_forward(wait_until="commit", timeout=deadline.left() * 1000)
                documents = tab.documents
            if tab.documents == documents:
                raise failures.unfit("There is no page to go back to.", hint="Go to an address instead.")
            return tab.page.main_frame

        async with self._lock:
            return await self._act(do, accept=accept)

    async def tab(self, number: int) -> Outcome:
        """Make another tab the current one.

        Args:
            number: As in `Observation.tabs`.

        Raises:
            BrowserError: `closed`: there is no such tab.
        """
        async with self._lock:
            self._refuse_if_paused()
            await self._context.revive()
            before = self.seen or await self._context.look()
            tab = self._tabs.switch(number)
            if self._options.headed:
                await tab.page.bring_to_front()
            return await self._outcome(before)

    async def screenshot(self, path: Path, *, mark: str = "") -> None:
        """Take a picture of the window. Passwords and what was filled in as a secret are covered.

        Args:
            path: Ends with `.png`, `.jpg` or `.jpeg`.
            mark: An element to draw a frame around, by its reference; one that is gone is not marked.

        Raises:
            BrowserError: As `observe`.
            StorageError: The file can't be written.
        """
        async with self._lock:
            await self._context.revive()
            page = self._tabs.current.page
            boxes: list[Box] = []
            if mark:
                with contextlib.suppress(BrowserError):
                    box = await (await self.eyes.handle(page, mark)).bounding_box()
                    boxes += [(box["x"], box["y"], box["width"], box["height"])] if box else []
            hidden: list[ElementHandle] = []
            for ref in self._context.secret:
                with contextlib.suppress(BrowserError):  # a field of another page
                    hidden.append(await self.eyes.handle(page, ref))
            await pictures.take(page, path, marked=boxes, hidden=hidden, seconds=_PICTURE_SECONDS)

    # ---- A person takes over

    async def pause(self) -> None:
        """Give the browser to a person: actions are refused until `resume`, dialogs and file pickers are theirs."""
        async with self._lock:
            await self._context.revive()
            self._tabs.hand_over()
            if self._options.headed:
                await self.page.bring_to_front()

    async def resume(self) -> Outcome:
        """Take the browser back; what changed in the current tab since it was last looked at."""
        async with self._lock:
            self._tabs.take_back()
            await self._context.revive()
            return await self._outcome(self.seen or await self._context.look())

    # ---- The end

    async def save(self) -> None:
        """Keep what the browser remembers, for the profile and for the time after a crash.

        Raises:
            StorageError: The profile can't be written.
        """
        async with self._lock:
            await self._context.remember(whole=True)

    async def close(self) -> None:
        """End it. The profile is kept, the trace is written. A second call does nothing.

        Raises:
            StorageError: The profile can't be written; it is ended nevertheless.
        """
        async with self._lock:
            try:
                await self._context.close()
            finally:
                self._left(self)

    def lost(self) -> None:
        """The browser's process is gone; it comes back with the next observation."""
        self._context.lost()

    # ---- How

    async def _act(self, do: Doing, *, accept: str | None = None, clicked: Sequence[Target] = ()) -> Outcome:
        """Carry out an action and see what it did."""
        self._refuse_if_paused()
        context = self._context
        await context.tidy()
        tab = self._tabs.current
        if crash := context.crash(tab):
            raise crash
        before = self.seen or await context.glance()
        was, downloads = Before.of(tab), context.downloads.begun
        patience = self._options.patience
        deadline, rest, end = Deadline(patience), Deadline(_SETTLING * patience), Deadline(patience + _LOOK_SECONDS)
        self._tabs.accept = accept
        try:
            frame = await do(tab, deadline)
            settled = settling.after_action(self._tabs, tab, was, frame, rest)
            await asyncio.gather(settled, *(self._check_receiver(tab, target, deadline) for target in clicked))
        except BrowserError as error:
            if error.reason == "closed":
                await context.tidy()
            if crash := context.crash(tab):
                raise crash from error
            raise
        finally:
            self._tabs.accept = None
        if crash := context.crash(tab):
            raise crash
        if context.downloads.begun > downloads and not await context.downloads.settled(settling.FETCH_SECONDS):
            context.notices.append("A download is under way.")
        if self._tabs.current.leaving is not None and _LOADING not in context.notices:
            context.notices.append(_LOADING)
        outcome = await self._outcome(before, clicked=clicked, seconds=max(end.left(), _LOOK_SECONDS))
        if not outcome.changes and not rest.passed:
            # give it a moment more
            await settling.change(frame, rest.left(settling.LATE_SECONDS))
            await settling.after_action(self._tabs, tab, was, frame, rest)
            if self._tabs.current.leaving is not None:
                context.notices.append(_LOADING)
            outcome = await self._outcome(before, clicked=clicked, seconds=max(end.left(), _LOOK_SECONDS))
        if was.moved(tab) or self._tabs.current is not tab:
            await context.remember(whole=bool(self._options.profile))
        return outcome

    async def _outcome(self, before: Observation, *, clicked: Sequence[Target] = (), seconds: float = 0.0) -> Outcome:
        after = await self._context.look(seconds=seconds)
        found = changes(before, after, clicked=[target.element.ref for target in clicked])
        return Outcome(changes=(*after.notices, *found), before=before, after=after)

    async def _go(self, go: Doing, accept: str | None) -> Outcome:
        """Carry out what needs nothing of what is there: what crashed is brought back first."""
        await self._context.revive()
        if not self._tabs.all:
            await self._context.new_tab()
        return await self._act(go, accept=accept)

    async def _target(self, tab: Tab, ref: str) -> Target:
        """An element that was seen, with its live handle."""
        seen = self._context.seen.get(tab.number)
        element = seen.elements.get(ref) if seen else None
        if seen is None or element is None:
            raise failures.stale(repr(ref))
        return Target(element, await self.eyes.handle(tab.page, ref), acting.inside(element, seen.elements))

    def _frame_of(self, tab: Tab, ref: str) -> Frame:
        return self.eyes.frame(ref) or tab.page.main_frame

    async def _check_receiver(self, tab: Tab, target: Target, deadline: Deadline) -> None:
        """The click reached the element that was meant, or something inside it."""
        from playwright.async_api import Error

        try:
            async with asyncio.timeout(deadline.left()):
                reached = await self.eyes.receivers(tab.page)
                if not reached or target.element.ref in reached:
                    return
                if await acting.labels(target, await self.eyes.handle(tab.page, reached[0])):
                    return
        except (Error, BrowserError, TimeoutError):
            return  # the page has changed since, is busy or another one: there is nothing to compare
        raise failures.covered(target.name, f"{reached[0]}, which came in its place and got the click,")

    async def _fill(self, tab: Tab, ref: str, text: str, deadline: Deadline) -> Target:
        target = await self._target(tab, ref)
        element = target.element
        if element.kind == "file" or (element.role in ("button", "link", "clickable") and element.tag != "textarea"):
            # what looks like a button may open a file picker; texts it does not take
            await acting.put_files(target, uploads(text, self._options.uploads), deadline)
        else:
            await acting.fill(target, text, deadline)
        return target

    async def _pick(self, tab: Tab, target: Target, frame: Frame, text: str, deadline: Deadline) -> None:
        """Choose from a list that the page has made itself: open it, and click what has the text."""
        wanted = " ".join(text.split()).casefold()
        option = _option(self._context.seen[tab.number].elements, wanted)
        if option is None:
            await acting.click(target, deadline)
            await settling.quiet(frame)
            option = _option((await self._look_again()).elements, wanted)
        if option is None and await settling.change(frame, settling.LATE_SECONDS):
            option = _option((await self._look_again()).elements, wanted)
        if option is None:
            there = [one.name for one in self._context.seen[tab.number].elements.values() if one.role in _OPTION_ROLES]
            listed = ", ".join(map(repr, there[:_LISTED])) or "none"
            raise failures.unfit(f"{target.name} has no option {text!r}.", hint=f"It has {listed}.")
        await acting.click(await self._target(tab, option.ref), Deadline(self._options.patience))
        await settling.quiet(frame)

    async def _look_again(self) -> Observation:
        """The page in the middle of an action; the notices are kept for its end."""
        seen = await self._context.look()
        self._context.notices[:0] = seen.notices
        return seen

    async def _open(self, tab: Tab, address: str, accept: str | None, deadline: Deadline) -> None:
        from playwright.async_api import Error

        dialogs, downloads = self._tabs.dialogs, self._context.downloads.begun
        try:
            response = await tab.page.goto(address, wait_until="commit", timeout=deadline.left() * 1000)
        except Error as error:
            if self._context.downloads.begun > downloads or "Download is starting" in error.message:
                return
            if self._tabs.dialogs > dialogs and accept is None and "ERR_ABORTED" in error.message:
                raise _not_left() from error
            if refused := self._context.refused():
                raise BrowserError(f"{address!r} was not opened. {' '.join(refused)}", reason="blocked") from error
            raise failures.of_navigation(error.message, address) from error
        if response is None:
            return
        if response.status == 403 and (refused := self._context.refused()):
            # a page of the proxy's own; what was refused besides is another page's
            origin = f"{origins.origin_or_none(response.url)} "
            if any(one.startswith(origin) for one in refused):
                raise BrowserError(f"{address!r} was not opened. {' '.join(refused)}", reason="blocked")
            self._context.notices += refused
        if response.status == 401:
            self._context.notices.append("The server asks for a name and a password (HTTP authentication).")
        elif response.status >= 400:
            said = f"{response.status} {response.status_text}".rstrip()
            self._context.notices.append(f"The server answered {said}.")

    def _refuse_if_paused(self) -> None:
        if self._context.closed:
            raise over()
        if self._tabs.paused:
            raise BrowserError("A person has the browser.", reason="paused", hint="Wait until they give it back.")


def _option(elements: Mapping[str, Element], wanted: str) -> Element | None:
    fits = [one for one in elements.values() if one.role in _OPTION_ROLES and one.name.casefold() == wanted]
    return next((one for one in fits if one.seen), fits[0] if fits else None)


def _not_left() -> BrowserError:
    return BrowserError(
        "The page asked whether to leave it, which may lose what was typed, and was not left.",
        reason="unchanged",
        hint="Accept that dialog, if it is meant.",
    )
