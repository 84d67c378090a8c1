"""What somebody does in a real Chromium is recorded with what it was done on, and no secret ever leaves the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from llmos.tools.browser.eyes import Eyes
from llmos.tools.browser.recording import Act, Demonstration, Recorder
from tests.tools.browser.conftest import Show
from tests.tools.web_server import Server

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

Told = list[str]


@pytest_asyncio.fixture(loop_scope="module")
async def told(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Told]:
    """Everything that documents report."""
    texts: Told = []
    kept = Recorder._told  # pyright: ignore[reportPrivateUsage]

    def note(self: Recorder, source: Mapping[str, Any], text: object) -> None:
        texts.append(str(text))
        kept(self, source, text)

    monkeypatch.setattr(Recorder, "_told", note)
    yield texts


@pytest_asyncio.fixture(loop_scope="module")
async def recorder(context: BrowserContext, eyes: Eyes, told: Told) -> Recorder:
    """Listens in pages opened after it."""
    return await Recorder.install(context, eyes, task='Log in as "ann" with the password "tulip-9" and buy 3 of Assam')


def element(act: Act) -> Mapping[str, Any]:
    """What it was done on."""
    found: Mapping[str, Any] = act.page["elements"][act.ref]
    return found


def brief(shown: Demonstration) -> list[tuple[str, str, str]]:
    """Each act: what, on what, with what."""
    found: list[tuple[str, str, str]] = []
    for act in shown.acts:
        name = "" if act.action == "goto" else str(element(act).get("name") or element(act).get("label", ""))
        found.append((act.action, name, act.value or ", ".join(act.options)))
    return found


async def begun(recorder: Recorder, show: Show, html: str | Mapping[str, str]) -> Page:
    """A page on which what is done counts."""
    page = await show(html)
    await recorder.begin(page)
    return page


async def test_clicks_letters_choices_and_keys_are_told_with_what_they_were_done_on(
    recorder: Recorder, show: Show
) -> None:
    page = await begun(
        recorder,
        show,
        "<form onsubmit='return false'><label>City <input></label>"
        "<label>Size <select><option>small<option>large</select></label>"
        "<button>Send</button></form><button type=button>More</button>",
    )
    await page.mouse.click(*await middle(page, "input"))
    await page.keyboard.type("Bonn")
    await page.keyboard.press("Enter")
    await page.focus("select")
    await page.keyboard.press("ArrowDown")
    await page.get_by_text("More").click()
    shown = await recorder.end()
    assert brief(shown) == [
        ("fill", "City", "Bonn"),
        ("press", "City", "Enter"),
        ("select", "Size", "large"),
        ("click", "More", ""),
    ]
    assert element(shown.acts[0])["role"] == "textbox"
    assert element(shown.acts[2])["options"] == ["small", "large"]
    assert shown.url == page.url
    assert shown.end["title"] == await page.title()


async def test_a_password_never_leaves_the_page(recorder: Recorder, show: Show, told: Told) -> None:
    page = await begun(recorder, show, "<label>Password <input type=password></label><button>Log in</button>")
    await page.mouse.click(*await middle(page, "input"))
    await page.keyboard.type("hunter2-orchid")
    await page.get_by_text("Log in").click()
    shown = await recorder.end()
    assert [(act.action, act.private, act.value, act.said) for act in shown.acts] == [
        ("fill", True, "", None),
        ("click", False, "", None),
    ]
    assert told
    assert not [text for text in told if "hunter" in text or "orchid" in text]
    assert "hunter" not in repr(shown)


async def test_of_a_password_in_the_words_only_its_place_is_told(recorder: Recorder, show: Show, told: Told) -> None:
    page = await begun(recorder, show, "<input type=password aria-label=Password>")
    await page.fill("input", "tulip-9")
    shown = await recorder.end()
    assert shown.acts[0].said is not None
    start, end = shown.acts[0].said
    assert shown.task[start:end] == "tulip-9"
    assert not [text for text in told if "tulip" in text]


@pytest.mark.parametrize(
    "field",
    [
        "<input autocomplete='section-a cc-csc'>",
        "<input autocomplete=one-time-code>",
        "<input aria-label='Card number'>",
        "<input aria-label=Payment>",
        "<input type=text name=otp>",
        "<input type=password onfocus=\"this.type = 'text'\" placeholder='Your passphrase'>",
    ],
)
async def test_cards_and_codes_are_private_too(recorder: Recorder, show: Show, told: Told, field: str) -> None:
    page = await begun(recorder, show, field)
    await page.mouse.click(*await middle(page, "input"))
    await page.keyboard.insert_text("4111 1111 1111 1111")
    shown = await recorder.end()
    assert shown.acts[-1].private
    assert "4111" not in repr(shown)
    assert not [text for text in told if "4111" in text]


async def test_what_stands_in_other_fields_is_not_told_with_an_act(recorder: Recorder, show: Show, told: Told) -> None:
    page = await begun(recorder, show, "<input value='my diary' aria-label=Note><button>Go</button>")
    await page.get_by_text("Go").click()
    shown = await recorder.end()
    assert "my diary" not in repr(shown)
    assert not [text for text in told if "my diary" in text]


async def test_frames_and_shadow_roots_are_heard_closed_ones_too(recorder: Recorder, show: Show) -> None:
    page = await begun(
        recorder,
        show,
        {
            "/": "<iframe src=/frame></iframe><div id=open></div><div id=shut></div><script>"
            "open_ = document.querySelector('#open').attachShadow({mode: 'open'});"
            "open_.innerHTML = '<button>In the open</button>';"
            "shut_ = document.querySelector('#shut').attachShadow({mode: 'closed'});"
            "shut_.innerHTML = '<button>Behind closed doors</button><input aria-label=Secretly>'</script>",
            "/frame": "<button>In a frame</button>",
        },
    )
    await page.frames[1].get_by_text("In a frame").click()
    await page.get_by_text("In the open").click()
    box = await page.evaluate("() => { const b = shut_.firstChild.getBoundingClientRect(); return [b.x + 5, b.y + 5] }")
    await page.mouse.click(*box)
    await page.evaluate("() => shut_.lastChild.focus()")
    await page.keyboard.type("abc")
    shown = await recorder.end()
    assert brief(shown) == [
        ("click", "In a frame", ""),
        ("click", "In the open", ""),
        ("click", "Behind closed doors", ""),
        ("fill", "Secretly", "abc"),
    ]
    assert element(shown.acts[0])["frame"].endswith("/frame")


async def test_a_label_is_its_control_once_and_a_box_says_how_it_ended(recorder: Recorder, show: Show) -> None:
    page = await begun(
        recorder,
        show,
        "<label for=a>I agree</label> <input id=a type=checkbox><label><input type=checkbox checked> News</label>",
    )
    await page.get_by_text("I agree").click()
    await page.get_by_text("News").click()
    shown = await recorder.end()
    assert [(element(act)["name"], act.chosen) for act in shown.acts] == [("I agree", True), ("News", False)]


async def test_what_a_page_takes_away_under_the_mouse_was_pressed(recorder: Recorder, show: Show) -> None:
    page = await begun(recorder, show, "<input aria-label=Here onfocus=\"document.body.innerHTML = 'Done'\">")
    await page.mouse.click(*await middle(page, "input"))
    assert brief(await recorder.end()) == [("click", "Here", "")]


async def test_what_scripts_do_is_nobodys_act_and_pages_can_make_none_up(recorder: Recorder, show: Show) -> None:
    page = await begun(
        recorder,
        show,
        "<button id=a>Pay</button><input id=b><button id=c>Real</button><script>"
        "setTimeout(() => { a.click(); b.value = 'x'; b.dispatchEvent(new Event('input', {bubbles: true})) });"
        "for (const key of Object.getOwnPropertyNames(window)) if (/^_[0-9a-f]{16}$/.test(key)) {"
        ' try { window[key](\'{"kind": "click", "key": "", "gesture": 1, "numbers": [1]}\') } catch {} }'
        "</script>",
    )
    await page.wait_for_function("() => b.value === 'x'")
    await page.get_by_text("Real").click()
    assert brief(await recorder.end()) == [("click", "Real", "")]


async def test_letters_of_one_field_are_one_act_and_caret_keys_none(recorder: Recorder, show: Show) -> None:
    page = await begun(recorder, show, "<textarea aria-label=Text></textarea><input aria-label=Other>")
    await page.mouse.click(*await middle(page, "textarea"))
    await page.keyboard.type("one")
    await page.keyboard.press("Enter")
    await page.keyboard.type("two")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Tab")
    await page.keyboard.type("x")
    assert brief(await recorder.end()) == [("fill", "Text", "one\ntwo"), ("fill", "Other", "x")]


async def test_a_button_pressed_by_key_is_a_click(recorder: Recorder, show: Show) -> None:
    page = await begun(recorder, show, "<button onclick=\"document.title = 'Went'\">Go</button>")
    await page.focus("button")
    await page.keyboard.press("Enter")
    assert brief(await recorder.end()) == [("click", "Go", "")]
    assert await page.title() == "Went"


async def test_the_next_page_is_heard_and_where_it_was(recorder: Recorder, show: Show, site: Server) -> None:
    page = await begun(
        recorder, show, {"/": "<a href=/next>On</a>", "/next": "<title>Next</title><button>There</button>"}
    )
    await page.get_by_text("On").click()
    await page.get_by_text("There").click()
    shown = await recorder.end()
    assert [(act.action, act.url) for act in shown.acts] == [("click", site.url("/")), ("click", site.url("/next"))]


async def test_an_address_that_somebody_types_is_an_act(recorder: Recorder, show: Show, site: Server) -> None:
    page = await begun(recorder, show, {"/": "Here", "/other": "<button>There</button>"})
    await page.goto(site.url("/other"))
    await page.get_by_text("There").click()
    assert [(act.action, act.url) for act in (await recorder.end()).acts] == [
        ("goto", site.url("/other")),
        ("click", site.url("/other")),
    ]


async def test_nothing_counts_before_the_beginning_and_after_the_end(recorder: Recorder, show: Show) -> None:
    page = await show("<button>One</button><button>Two</button><button>Three</button>")
    await page.get_by_text("One").click()
    await recorder.begin(page)
    await page.get_by_text("Two").click()
    shown = await recorder.end()
    await page.get_by_text("Three").click()
    assert brief(shown) == [("click", "Two", "")]


async def middle(page: Page, selector: str) -> tuple[float, float]:
    """Where a person would click."""
    box = await page.locator(selector).first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
