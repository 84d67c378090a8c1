"""How MiniWoB++ tasks are done by somebody who knows how: what a demonstration shows, and what a replay is held to.

Each is written down once and carried out with the mouse and the keyboard on a page, with the values that the task's
words name. Knows nothing of how skills are learned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.browser_perturbed import Names

if TYPE_CHECKING:
    from playwright.async_api import Page


@dataclass(frozen=True, slots=True)
class Deed:
    """One action on the first element that a selector finds; `{name}` in both stands for a value of the words."""

    kind: Literal["click", "fill", "choose"]
    selector: str
    text: str = ""


def click(selector: str) -> Deed:
    return Deed("click", selector)


def fill(selector: str, text: str) -> Deed:
    return Deed("fill", selector, text)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One type of task: what its words look like, and what is done."""

    task: str
    words: str
    deeds: Sequence[Deed]

    async def carry_out(self, page: Page, utterance: str, names: Names | None = None) -> None:
        """Do it on a page whose episode has begun; `names` for one that was changed."""
        found = re.search(self.words, utterance)
        assert found is not None, f"{self.task}: {utterance!r}"
        values = {key: value for key, value in found.groupdict().items() if value is not None}
        if "month" in values:
            values["iso"] = f"{values['year']}-{values['month']}-{values['day']}"
        if "half" in values:
            hour = int(values["hour"]) % 12 + 12 * (values["half"] == "PM")
            values["iso"] = f"{hour:02d}:{values['minute']}"
        for deed in self.deeds:
            selector = names.selector(deed.selector) if names else deed.selector
            element = page.locator("#area, .ui-dialog, .ui-menu").locator(selector.format(**values)).first
            if deed.kind == "click":
                await element.click()
            elif deed.kind == "fill":
                await element.fill(deed.text.format(**values))
            else:
                await element.select_option(label=deed.text.format(**values))


_SUBMIT = click('button:text-is("Submit")')
_MAIL = r"email by (?P<who>\S+)"
_THREAD = '.email-thread:has(.email-sender:text-is("{who}"))'
_MOVIES = r"Search for (?P<genre>\w+) movies directed by (?P<name>.+?) from year (?P<year>\d+)"
_LOGIN = r'username "(?P<user>.*?)" and the password "(?P<password>.*?)"'
_ROW = 'tr:has(th:text-is("{}")) input'

DEMONSTRATIONS = (
    Demonstration("click-test", "", [click("button")]),
    Demonstration("click-test-2", "", [click('button:text-is("ONE")')]),
    Demonstration("click-test-transfer", "", [click('button:text-is("ONE")')]),
    Demonstration("click-button", r'Click on the "(?P<name>.*?)" button', [click('button:text-is("{name}")')]),
    Demonstration("unicode-test", r'Click on the "(?P<name>.*?)" button', [click('button:text-is("{name}")')]),
    Demonstration("click-button-sequence", "", [click('button:text-is("ONE")'), click('button:text-is("TWO")')]),
    Demonstration("click-dialog", "", [click("[title=Close]")]),
    Demonstration("click-link", r'link "(?P<name>.*?)"', [click('span:text-is("{name}")')]),
    Demonstration("click-tab", r"Click on (?P<name>Tab #\d)", [click('a:text-is("{name}")')]),
    Demonstration("click-option", r"Select (?P<name>\S+) and", [click('label:text-is("{name}") input'), _SUBMIT]),
    Demonstration("click-collapsible", "", [click("h3"), _SUBMIT]),
    Demonstration("click-collapsible-nodelay", "", [click("h3"), _SUBMIT]),
    Demonstration("focus-text", "", [click("input")]),
    Demonstration("enter-text", r'Enter "(?P<text>.*?)" into', [fill("input", "{text}"), _SUBMIT]),
    Demonstration("enter-text-dynamic", r'Enter "(?P<text>.*?)" into', [fill("input", "{text}"), _SUBMIT]),
    Demonstration(
        "enter-password",
        r'password "(?P<text>.*?)" into',
        [fill("#password", "{text}"), fill("#verify", "{text}"), _SUBMIT],
    ),
    Demonstration(
        "login-user", _LOGIN, [fill("#username", "{user}"), fill("#password", "{password}"), click("button")]
    ),
    Demonstration("enter-date", r"Enter (?P<month>\d+)/(?P<day>\d+)/(?P<year>\d+)", [fill("input", "{iso}"), _SUBMIT]),
    Demonstration(
        "enter-time", r"Enter (?P<hour>\d+):(?P<minute>\d+) ?(?P<half>[AP]M)", [fill("input", "{iso}"), _SUBMIT]
    ),
    Demonstration("choose-list", r"Select (?P<name>.+) from the list", [Deed("choose", "select", "{name}"), _SUBMIT]),
    Demonstration("email-inbox-delete", _MAIL, [click(f"{_THREAD} .trash")]),
    Demonstration("email-inbox-important", _MAIL, [click(f"{_THREAD} .star")]),
    Demonstration(
        "email-inbox-reply",
        _MAIL + r' and reply to them with the text "(?P<text>.*?)"',
        [click(_THREAD), click(".email-reply"), fill("#reply-text", "{text}"), click("#send-reply")],
    ),
    Demonstration(
        "email-inbox-forward",
        _MAIL + r" and forward that email to (?P<to>\S+?)\.$",
        [click(_THREAD), click(".email-forward"), fill(".forward-sender", "{to}"), click("#send-forward")],
    ),
    Demonstration(
        "multi-orderings",
        _MOVIES,
        [
            fill(_ROW.format("Genre"), "{genre}"),
            fill(_ROW.format("Director"), "{name}"),
            fill(_ROW.format("Year"), "{year}"),
            click(".final"),
        ],
    ),
)
"""Types of tasks that are done the same way each time, with other values."""
