"""Actions reach the element that was meant, or say why not, quickly. On pages that make it hard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from llmos.errors import BrowserError
from llmos.tools.browser.acting import inside
from llmos.tools.browser.elements import Element
from tests.tools.browser.sessions import Surf, ref, refused, surfing, value_of


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(executable: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Surf]:
    async with surfing(executable, tmp_path_factory.mktemp("acting")) as web:
        yield web


async def test_a_click_says_what_it_changed(web: Surf) -> None:
    session = await web.show("<button onclick=\"document.body.append('Thank you')\">Go</button>")
    outcome = await session.click(ref(session, "Go"))
    assert any("Thank you" in change for change in outcome.changes)
    assert outcome.after.url == web.site.url("/")


async def test_a_click_that_does_nothing_is_noticed(web: Surf) -> None:
    session = await web.show("<button>Go</button>")
    outcome = await session.click(ref(session, "Go"))
    assert outcome.changes == ()


async def test_an_effect_that_takes_a_moment_is_waited_for(web: Surf) -> None:
    session = await web.show("<button onclick=\"setTimeout(() => { document.title = 'Later' }, 150)\">Go</button>")
    outcome = await session.click(ref(session, "Go"))
    assert any("Later" in change for change in outcome.changes)


async def test_what_a_click_fetches_is_waited_for(web: Surf) -> None:
    web.site.answers["/data"] = (200, {"Content-Type": "text/plain"}, b"forty-two")
    session = await web.show(
        "<p id=p></p><button onclick=\"p.textContent = '…'; fetch('/data').then((r) => r.text())"
        '.then((t) => setTimeout(() => { p.textContent = t }, 20))">Go</button>'
    )
    outcome = await session.click(ref(session, "Go"))
    assert "forty-two" in str(outcome.after.root)


async def test_a_link_is_followed_and_the_new_page_seen(web: Surf) -> None:
    web.site.html("/next", "<title>Next</title><button>There</button>")
    session = await web.show("<a href=/next>On</a>")
    outcome = await session.click(ref(session, "On"))
    assert outcome.changes[0] == f"opened {web.site.url('/next')}"
    assert ref(outcome.after, "There")


async def test_what_is_gone_is_stale_and_nothing_else_is_clicked(web: Surf) -> None:
    session = await web.show("<div id=d><button>Old</button></div>")
    old = ref(session, "Old")
    await value_of(session, "() => { d.innerHTML = '<button onclick=\"window.hit = 1\">New</button>' }")
    error = await refused(session.click(old))
    assert error.reason == "stale"
    assert await value_of(session, "() => window.hit") is None
    assert ref(await session.observe(), "New") != old


async def test_a_page_that_draws_itself_anew_gives_a_typed_error_or_the_click(web: Surf) -> None:
    session = await web.show(
        "<div id=d></div><script>setInterval(() => { d.innerHTML = '<button>Go</button>' }, 5)</script>"
    )
    error = await refused(session.click(ref(session, "Go")))
    assert error.reason == "stale"


async def test_what_lies_over_a_target_is_named(web: Surf) -> None:
    session = await web.show(
        "<button onclick='window.hit = 1'>Pay</button>"
        "<div id=cover style='position:fixed;inset:0;background:#0008' onclick='window.hit = 2'>Cookies?</div>"
    )
    seen = await session.observe()
    error = await refused(session.click(ref(seen, "Pay")))
    assert error.reason == "covered"
    assert "cover" in error.message
    assert "Cookies?" in error.message
    assert await value_of(session, "() => window.hit") is None


async def test_a_cover_in_the_document_around_a_frame_is_named(web: Surf) -> None:
    web.site.html("/frame", "<button onclick='parent.hit = 1'>Pay</button>")
    session = await web.show(
        "<iframe src=/frame></iframe><div id=cover style='display:none;position:fixed;inset:0'>Wait</div>"
    )
    pay = ref(session, "Pay")
    await value_of(session, "() => { cover.style.display = 'block' }")
    error = await refused(session.click(pay))
    assert error.reason == "covered"
    assert await value_of(session, "() => window.hit") is None


async def test_a_cover_that_goes_away_is_waited_for(web: Surf) -> None:
    session = await web.show(
        "<button onclick=\"document.title = 'Paid'\">Pay</button>"
        "<div id=cover style='position:fixed;inset:0'>Wait</div>"
    )
    pay = ref(await session.observe(), "Pay")
    await value_of(session, "() => { setTimeout(() => cover.remove(), 300) }")
    outcome = await session.click(pay)
    assert outcome.after.title == "Paid"


async def test_a_disabled_button_says_so(web: Surf) -> None:
    session = await web.show("<button disabled>Send</button><button aria-disabled=true>Post</button>")
    assert (await refused(session.click(ref(session, "Send")))).reason == "disabled"
    assert (await refused(session.click(ref(session, "Post")))).reason == "disabled"


async def test_what_is_not_shown_any_more_is_hidden(web: Surf) -> None:
    session = await web.show("<button id=b>Send</button>")
    send = ref(session, "Send")
    await value_of(session, "() => { b.style.display = 'none' }")
    assert (await refused(session.click(send))).reason == "hidden"


async def test_an_image_that_is_swapped_as_the_mouse_comes_gets_the_click_or_nothing_does(web: Surf) -> None:
    session = await web.show(
        "<div onclick='window.hit = 3'><img id=one alt=One width=40 height=40 "
        "src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=' onclick='window.hit = 1' "
        "onmouseover=\"this.outerHTML = '<img id=two alt=Two width=40 height=40 onclick=window.hit=2>'\"></div>"
    )
    error = await refused(session.click(ref(session, "One", "img")))
    assert error.reason in ("stale", "covered")
    assert await value_of(session, "() => window.hit") is None
    assert ref(await session.observe(), "Two", "img")


async def test_what_moves_away_from_the_mouse_is_not_clicked_elsewhere(web: Surf) -> None:
    session = await web.show(
        "<button id=a style='position:absolute;left:9px;top:9px' onclick='window.a = 1' "
        "onmousemove=\"this.style.left = (this.offsetLeft > 99 ? 9 : 400) + 'px'\">Prize</button>"
        "<button style='position:absolute;left:9px;top:9px;z-index:-1' onclick='window.b = 1'>Buy it all</button>"
    )
    with contextlib.suppress(BrowserError):  # whether it is caught in the end is chance
        await session.click(ref(session, "Prize"))
    assert await value_of(session, "() => window.b") is None


async def test_a_card_is_clicked_where_no_button_of_its_own_is(web: Surf) -> None:
    session = await web.show(
        "<div id=card role=button aria-label=Card tabindex=0 style='width:300px;height:100px;position:relative' "
        "onclick=\"document.title += ' card'\"><button style='position:absolute;left:50px;top:20px;"
        "width:200px;height:60px' onclick=\"document.title = 'deleted'\">Delete</button></div>"
    )
    outcome = await session.click(ref(session, "Card"))
    assert outcome.after.title == "Page card"


async def test_closed_shadow_roots_and_frames_in_frames_are_reached(web: Surf) -> None:
    web.site.html("/outer", f"<iframe src='{web.site.url('/inner', host='localhost')}'></iframe>")
    web.site.html(
        "/inner", "<button onclick=\"document.body.append('inner done')\">Inner</button><input aria-label=Deep>"
    )
    session = await web.show(
        "<x-box></x-box><iframe src=/outer width=400 height=300></iframe><script>"
        "const root = document.querySelector('x-box').attachShadow({mode: 'closed'});"
        "root.innerHTML = '<button>Shady</button><input aria-label=Dark>';"
        "root.querySelector('button').onclick = () => { document.title = 'shadow done' };</script>"
    )
    seen = await session.observe()
    outcome = await session.click(ref(seen, "Shady"))
    assert outcome.after.title == "shadow done"
    outcome = await session.fill(ref(seen, "Dark"), "night")
    assert outcome.after.elements[ref(seen, "Dark")].value == "night"
    outcome = await session.click(ref(seen, "Inner"))
    assert any("inner done" in change for change in outcome.changes)
    outcome = await session.fill(ref(seen, "Deep"), "down")
    assert outcome.after.elements[ref(seen, "Deep")].value == "down"


@pytest.mark.parametrize(
    ("html", "text", "value"),
    [
        ("<input aria-label=F>", "Ada Lovelace", "Ada Lovelace"),
        ("<input aria-label=F value=old>", "new", "new"),
        ("<textarea aria-label=F></textarea>", "two\nlines\n", "two\nlines\n"),
        ("<input type=date aria-label=F>", "2031-05-06", "2031-05-06"),
        ("<input type=range min=0 max=10 aria-label=F>", "7", "7"),
        ("<input type=number aria-label=F>", "12.5", "12.5"),
        ("<input aria-label=F value=old>", "", ""),
        ("<select aria-label=F><option>One<option>Two words</select>", "two  words", "Two words"),
    ],
)
async def test_fields_of_all_kinds_are_filled_in(web: Surf, html: str, text: str, value: str) -> None:
    session = await web.show(html)
    field = ref(session, "F")
    outcome = await session.fill(field, text)
    assert outcome.after.elements[field].value == value


async def test_an_editable_region_takes_text(web: Surf) -> None:
    session = await web.show("<div contenteditable role=textbox aria-label=F>old</div>")
    await session.fill(ref(session, "F"), "new words")
    assert await value_of(session, "() => document.querySelector('div').textContent") == "new words"


async def test_pages_that_listen_for_keys_hear_some(web: Surf) -> None:
    session = await web.show("<input aria-label=F onkeyup='document.title = this.value'>")
    outcome = await session.fill(ref(session, "F"), "Berlin")
    assert outcome.after.title == "Berlin"


async def test_boxes_are_ticked_by_yes_and_no_even_where_only_their_label_shows(web: Surf) -> None:
    session = await web.show(
        "<input type=checkbox aria-label=Plain checked><label>Styled<input type=checkbox style='opacity:0;"
        "position:absolute;width:0;height:0'></label>"
    )
    outcome = await session.fill(ref(session, "Plain"), "no")
    assert await value_of(session, "() => document.querySelectorAll('input')[0].checked") is False
    outcome = await session.fill(ref(outcome.after, "Plain"), "no")
    assert outcome.changes == ()
    await session.click(ref(session, "Styled"))
    assert await value_of(session, "() => document.querySelectorAll('input')[1].checked") is True


async def test_a_value_that_a_field_does_not_take_is_an_error(web: Surf) -> None:
    session = await web.show(
        "<input aria-label=Fixed readonly value=x><input type=date aria-label=Day>"
        "<input aria-label=Stubborn oninput=\"this.value = 'no'\" value=no>"
        "<select aria-label=Size><option>S<option>M<option disabled>L</select>"
    )
    assert (await refused(session.fill(ref(session, "Fixed"), "y"))).reason == "disabled"
    assert (await refused(session.fill(ref(session, "Day"), "tomorrow"))).reason in ("unfit", "unchanged")
    assert (await refused(session.fill(ref(session, "Stubborn"), "yes"))).reason == "unchanged"
    error = await refused(session.select(ref(session, "Size"), ["XL"]))
    assert error.reason == "unfit"
    assert "'M'" in error.hint
    assert (await refused(session.select(ref(session, "Size"), ["L"]))).reason == "disabled"


async def test_a_form_is_filled_in_and_submitted(web: Surf) -> None:
    web.site.html("/done", "<title>Done</title>")
    session = await web.show(
        "<form action=/done><input name=a aria-label=A><input name=b aria-label=B type=password>"
        "<select name=c aria-label=C><option>x<option>y</select><button>Send</button></form>"
    )
    refs = {name: ref(session, name) for name in "ABC"}
    outcome = await session.fill_form({refs["A"]: "1", refs["B"]: "secret!", refs["C"]: "y"})
    assert outcome.after.elements[refs["A"]].value == "1"
    assert "secret!" not in str(outcome)
    outcome = await session.press("Enter", refs["A"])
    assert outcome.after.title == "Done"
    assert web.site.asked[-1].path == "/done?a=1&b=secret%21&c=y"


async def test_a_list_that_a_page_made_itself_is_opened_and_chosen_from(web: Surf) -> None:
    session = await web.show(
        "<button role=combobox aria-label=Colour aria-expanded=false onclick='l.hidden = false'>none</button>"
        "<ul id=l role=listbox hidden><li role=option tabindex=-1 onclick=\"document.title = 'red'\">Red"
        "<li role=option tabindex=-1 onclick=\"document.title = 'blue'\">Blue</ul>"
    )
    outcome = await session.select(ref(session, "Colour"), ["blue"])
    assert outcome.after.title == "blue"
    assert (await refused(session.select(ref(session, "Colour"), ["green"]))).reason == "unfit"


async def test_keys_are_pressed_and_unknown_ones_refused(web: Surf) -> None:
    session = await web.show("<input aria-label=F value=abc onkeydown='document.title += event.key'>")
    outcome = await session.press("Home Delete", ref(session, "F"))
    assert outcome.after.elements[ref(session, "F")].value == "bc"
    assert (await refused(session.press("Hyper+Q"))).reason == "unfit"


async def test_the_window_and_boxes_in_it_are_scrolled(web: Surf) -> None:
    session = await web.show("<div style='height:5000px'>tall</div><button>Low</button>")
    outcome = await session.scroll("down")
    assert outcome.after.above > 0
    assert "scrolled down" in outcome.changes
    outcome = await session.scroll(ref(session, "Low"))
    assert outcome.after.elements[ref(session, "Low")].seen
    assert (await session.scroll("top")).after.above == 0


async def test_a_box_in_a_page_that_does_not_scroll_is_scrolled(web: Surf) -> None:
    session = await web.show(
        "<style>body { margin: 0 }</style><div id=box style='height:100vh;overflow:auto'>"
        "<div style='height:5000px'>tall</div></div>"
    )
    await session.scroll("bottom")
    assert await value_of(session, "() => box.scrollTop > 1000")


async def test_what_a_box_that_scrolls_hides_is_clicked(web: Surf) -> None:
    session = await web.show(
        "<div style='height:100px;width:200px;overflow:auto'><div style='height:400px'>tall</div>"
        "<button onclick=\"document.title = 'clicked'\">Deep</button></div>"
    )
    outcome = await session.click(ref(session, "Deep"))
    assert outcome.after.title == "clicked"


async def test_what_lies_under_a_fixed_bar_is_scrolled_out_from_there(web: Surf) -> None:
    session = await web.show(
        "<style>body { margin: 0 } #bar { position: fixed; top: 0; width: 100%; height: 90px; background: tan }</style>"
        "<div id=bar>Bar</div>"
        "<div style='height:300px'></div><button onclick=\"document.title = 'clicked'\">Low</button>"
        "<div style='height:3000px'></div>"
    )
    await value_of(session, "() => scrollTo(0, 280)")
    outcome = await session.click(ref(session, "Low"))
    assert outcome.after.title == "clicked"


def test_elements_inside_of_another_are_found_by_their_boxes() -> None:
    card = Element(ref="e1", role="button", name="Card", box=(10, 10, 100, 100))
    button = Element(ref="e2", role="button", name="Delete", box=(20, 30, 40, 10))
    beside = Element(ref="e3", role="button", name="Else", box=(200, 10, 40, 10))
    assert inside(card, {one.ref: one for one in (card, button, beside)}) == ((10, 20, 40, 10),)
    assert inside(button, {one.ref: one for one in (card, button, beside)}) == ()
