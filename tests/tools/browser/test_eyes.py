"""What is seen of pages, in a real Chromium."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from llmos.errors import BrowserError
from llmos.tools.browser.elements import Element, Node, Observation
from llmos.tools.browser.eyes import Eyes
from tests.tools.browser.conftest import Show
from tests.tools.web_server import Server

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page


def named(observation: Observation, name: str) -> Element:
    """The one element of that name."""
    [found] = [element for element in observation.elements.values() if element.name == name]
    return found


def names(observation: Observation) -> list[str]:
    return [f"{element.role} {element.name}".strip() for element in observation.elements.values()]


def texts(observation: Observation) -> str:
    """All text of a page that belongs to no element, a piece a line."""

    def of(nodes: tuple[Node, ...]) -> list[str]:
        found: list[str] = []
        for node in nodes:
            if node.text and not node.ref:
                found.append(node.text)
            found += of(node.children)
        return found

    return "\n".join(of(observation.root))


async def press(eyes: Eyes, page: Page, ref: str) -> None:
    """Click it as a person would."""
    await (await eyes.handle(page, ref)).click(timeout=3_000)


# ---- Handles


async def test_a_button_is_seen_and_pressed(show: Show, eyes: Eyes) -> None:
    page = await show("<button onclick='document.title = 1'>Go</button>")
    button = named(await eyes.observe(page), "Go")
    assert (button.role, button.tag, button.kind, button.seen) == ("button", "button", "submit", True)
    await press(eyes, page, button.ref)
    assert await page.title() == "1"
    assert await eyes.received(page) == button.ref
    assert await eyes.received(page) == ""


async def test_a_ref_stays_while_the_element_lives_and_is_never_given_again(show: Show, eyes: Eyes) -> None:
    page = await show("<div id=x><button>A</button></div><button>B</button>")
    first = await eyes.observe(page)
    a, b = named(first, "A").ref, named(first, "B").ref
    await page.evaluate("document.body.append(document.querySelector('#x'))")
    assert named(await eyes.observe(page), "A").ref == a
    await page.evaluate("document.querySelector('#x').innerHTML = '<button>A</button>'")
    second = await eyes.observe(page)
    assert named(second, "B").ref == b
    assert named(second, "A").ref not in (a, b)
    with pytest.raises(BrowserError) as error:
        await eyes.handle(page, a)
    assert error.value.reason == "stale"


async def test_after_a_reload_the_refs_of_before_are_stale_and_not_given_again(show: Show, eyes: Eyes) -> None:
    page = await show("<button>A</button>")
    old = named(await eyes.observe(page), "A").ref
    await page.reload()
    for _ in range(2):  # before and after the new document was looked at
        with pytest.raises(BrowserError) as error:
            await eyes.handle(page, old)
        assert error.value.reason == "stale"
        assert named(await eyes.observe(page), "A").ref != old


async def test_a_ref_of_one_tab_means_nothing_in_another(show: Show, eyes: Eyes) -> None:
    one = await show("<button>A</button>")
    two = await show("<button>A</button>")
    ref = named(await eyes.observe(one), "A").ref
    assert named(await eyes.observe(two), "A").ref != ref
    with pytest.raises(BrowserError) as error:
        await eyes.handle(two, ref)
    assert error.value.reason == "stale"
    with pytest.raises(BrowserError):
        await eyes.handle(one, "e999999")


async def test_a_page_that_was_open_before_is_seen(context: BrowserContext, site: Server) -> None:
    site.html("/", "<button>Here already</button>")
    page = await context.new_page()
    await page.goto(site.url())
    eyes = await Eyes.install(context)
    assert names(await eyes.observe(page)) == ["button Here already"]


async def test_who_was_pressed_is_told_from_the_inside_out(show: Show, eyes: Eyes) -> None:
    page = await show("<div onclick='1' style='padding: 20px'>around <button>in</button></div>")
    observation = await eyes.observe(page)
    outer = next(ref for ref, element in observation.elements.items() if element.tag == "div")
    inner = named(observation, "in").ref
    await press(eyes, page, inner)
    assert await eyes.receivers(page) == (inner, outer)
    await page.mouse.click(25, 15)
    assert await eyes.receivers(page) == (outer,)


async def test_a_page_cannot_alter_what_a_ref_stands_for(show: Show, eyes: Eyes) -> None:
    page = await show(
        """<button>Safe</button><button onclick="document.title = 'hit'">Trap</button><script>
        for (const kind of [Map, WeakMap]) { kind.prototype.get = () => undefined; kind.prototype.set = () => {}; }
        WeakRef.prototype.deref = () => document.querySelectorAll('button')[1];
        Array.prototype.push = function () { return 0; };
        Object.defineProperty(Array.prototype, '0', { set() {}, get: () => 'forged', configurable: true });
        Array.prototype.toJSON = String.prototype.toJSON = () => 'forged';
        JSON.stringify = () => '{}';
        Element.prototype.getAttribute = () => 'forged';
        Element.prototype.getBoundingClientRect = () => ({});
        Node.prototype.getRootNode = null;
        document.getElementById = null;
        for (const key of Object.getOwnPropertyNames(window).filter((key) => key[0] === '_')) {
          try { window.tried = [...(window.tried || []), window[key]('?', 'look', [0, 0, 9, 9], 'none')]; } catch {}
          try { window[key] = () => '{}'; } catch {}
        }
        </script>"""
    )
    observation = await eyes.observe(page)
    assert names(observation) == ["button Safe", "button Trap"]
    safe = named(observation, "Safe")
    assert await (await eyes.handle(page, safe.ref)).text_content() == "Safe"


async def test_fields_with_the_names_of_properties_mislead_nobody(show: Show, eyes: Eyes) -> None:
    fields = ("parentNode", "firstChild", "getAttribute", "action", "method", "children", "matches", "localName")
    page = await show(
        f"<form action=/real method=post>{''.join(f'<input name={name} aria-label={name}>' for name in fields)}</form>"
        "<img name=title><img name=body><form name=documentElement></form>"
    )
    observation = await eyes.observe(page)
    assert names(observation) == [f"textbox {name}" for name in fields]
    [form] = [form for form in observation.forms.values() if form.fields]
    assert form.action.endswith("/real")
    assert form.method == "post"
    assert len(form.fields) == len(fields)


# ---- What can be acted on


ACTED_ON: list[tuple[str, list[str]]] = [
    ("<a href=/x>Link</a><a>no link</a>", ["link Link"]),
    ("<div onclick=1>Div</div>", ["clickable Div"]),
    ("<div id=d>Div</div><script>d.addEventListener('mousedown', () => 1)</script>", ["clickable Div"]),
    (
        "<div id=d>Div</div><script>const f = () => 1; d.addEventListener('click', f);"
        "d.removeEventListener('click', f)</script>",
        [],
    ),
    ("<div id=d>Div</div><script>d.onpointerdown = () => 1</script>", ["clickable Div"]),
    ("<div style='cursor: pointer'>Out <b>in</b></div>", ["clickable Out in"]),
    ("<span tabindex=0>Focus</span>", ["clickable Focus"]),
    ("<div role=button>Role</div><div role='unheard-of switch'>S</div>", ["button Role", "switch S"]),
    ("<div contenteditable aria-label=Note>abc</div>", ["textbox Note"]),
    ("<p draggable=true>Drag</p>", ["clickable Drag"]),
    ("<details><summary>More</summary><button>in</button> text</details>", ["button More"]),
    ("<details open><summary>More</summary><button>in</button></details>", ["button More", "button in"]),
    ("<button hidden>a</button><button style='visibility: hidden'>b</button><button inert>c</button>", []),
    ("<div style='visibility: hidden'>x<button style='visibility: visible'>b</button></div>", ["button b"]),
    ("<div style='display: contents'><button>b</button></div>", ["button b"]),
    ("<div style='height: 0; overflow: hidden'><button>b</button></div>", []),
    ("<input type=hidden name=x><input aria-label=a>", ["textbox a"]),
    (
        "<svg width=60 height=60><circle r=9 onclick=1><title>Sun</title></circle></svg>",
        ["clickable Sun"],
    ),
    ("<canvas aria-label=Board></canvas>", ["canvas Board"]),
    ("<a href=/x role=presentation>still a link</a>", ["link still a link"]),
    ("<video controls aria-label=Film></video>", ["video Film"]),
    (
        "<img usemap='#m' width=50 height=50 alt=Map><map name=m><area href=/n alt=North coords=0,0,9,9></map>",
        ["link North"],
    ),
    (
        "<label for=c>Agree</label><input id=c type=checkbox style='position: absolute; width: 0; height: 0'>",
        ["checkbox Agree"],
    ),
]


async def test_what_can_be_acted_on(show: Show, eyes: Eyes, site: Server) -> None:
    page = await show("")
    for html, expected in ACTED_ON:
        site.html("/", f"<!doctype html>{html}")
        await page.goto(site.url())
        assert names(await eyes.observe(page)) == expected, html


async def test_every_kind_of_field_tells_its_state(show: Show, eyes: Eyes) -> None:
    page = await show(
        """<form action="/pay"><label for=n>Name</label><input id=n value=Ann required readonly>
        <label>Secret <input type=password value=hush autocomplete=current-password></label>
        <label><input type=checkbox checked> Yes</label><label><input type=radio disabled> No</label>
        <label>City <select><option>Rome<option selected>Oslo</select></label>
        <label>Text <textarea>two
        lines</textarea></label><input type=range aria-label=Much value=7 max=9>
        <input list=all placeholder=Pick><datalist id=all><option value=one><option>two</datalist>
        <button aria-expanded=false formaction=/other>Menu</button><button aria-pressed=true>Bold</button></form>"""
    )
    await page.focus("#n")
    seen = {element.name: element for element in (await eyes.observe(page)).elements.values()}
    assert seen["Name"].states == {"required", "readonly", "focused"}
    assert seen["Name"].value == "Ann"
    assert (seen["Secret"].value, seen["Secret"].kind) == ("", "password")
    assert seen["Secret"].states == {"filled"}
    assert seen["Secret"].autocomplete == "current-password"
    assert (seen["Yes"].role, seen["No"].role) == ("checkbox", "radio")
    assert seen["Yes"].states == {"checked"}
    assert seen["No"].states == {"disabled"}
    assert (seen["City"].value, seen["City"].options) == ("Oslo", ("Rome", "Oslo"))
    assert seen["Text"].value.startswith("two\n")
    assert (seen["Much"].role, seen["Much"].value) == ("slider", "7")
    assert (seen["Pick"].role, seen["Pick"].options) == ("combobox", ("one", "two"))
    assert seen["Menu"].states == {"collapsed"}
    assert seen["Menu"].href.endswith("/other")
    assert seen["Bold"].states == {"pressed"}
    assert {element.form for element in seen.values()} == {"f1"}


async def test_delegated_listeners_of_jquery_make_their_targets_clickable(show: Show, eyes: Eyes) -> None:
    # what matters of jQuery: one native listener, and which handlers are for whom in `_data`
    page = await show(
        """<ul id=list><li>One</li><li class=x>Two</li></ul><p class=far>Far</p><p>Plain</p><script>
        const events = new Map([[list, [{ selector: 'li.x' }]], [document, [{ selector: '.far' }]]]);
        window.jQuery = () => {};
        jQuery._data = (element) => ({ click: events.get(element) });
        for (const target of events.keys()) target.addEventListener('click', () => 1);
        </script>"""
    )
    observation = await eyes.observe(page)
    assert [name for name in names(observation) if "list" not in name][1:] == ["clickable Two", "clickable Far"]


async def test_handlers_that_react_keeps_are_known(show: Show, eyes: Eyes) -> None:
    page = await show(
        """<div id=root><p>Plain</p><p id=p>Reacts</p></div><script>
        root.__reactContainer$ab1 = {}; root.addEventListener('click', () => 1);
        p.__reactProps$ab1 = { onClick() {} };</script>"""
    )
    assert names(await eyes.observe(page)) == ["clickable Reacts"]


async def test_a_control_in_two_elements_is_written_once(show: Show, eyes: Eyes) -> None:
    page = await show("<div onclick=1><button>Go</button></div>")
    observation = await eyes.observe(page)
    assert len(observation.elements) == 2
    [node] = observation.root
    assert (node.role, node.text, node.children) == ("button", "Go", ())


async def test_what_has_no_name_has_a_hint_and_the_words_around_it(show: Show, eyes: Eyes) -> None:
    page = await show(
        """<table><tr><th>Name<th>Age<th></tr><tr><td>Ann<td>32<td><button class=trash></button></tr>
        <tr><td>Bob<td>41<td><button class=trash></button></tr></table><p>Age <input></p>
        <input type=checkbox> Tick me"""
    )
    found = list((await eyes.observe(page)).elements.values())
    assert [element.near for element in found] == ["Ann 32", "Bob 41", "Age", "Tick me"]
    assert found[0].label == "trash"


async def test_neighbours_without_names_are_told_apart_by_what_is_their_own(show: Show, eyes: Eyes) -> None:
    page = await show(
        "<button class='key up'></button><button class='key down'></button>"
        "<svg width=90 height=90><rect width=9 height=9 fill=red onclick=1></rect>"
        "<circle r=9 cx=40></circle></svg>"
    )
    observation = await eyes.observe(page)
    assert [element.label for element in observation.elements.values()] == ["up", "down", "rect red"]
    assert texts(observation) == "circle 18×18"


async def test_a_picture_that_is_still_on_its_way_can_be_acted_on(show: Show, eyes: Eyes) -> None:
    page = await show("<span onclick=1 style='content: url(/never.png)' title=Star></span>")
    assert names(await eyes.observe(page)) == ["clickable Star"]


# ---- Frames and shadow roots


async def test_frames_in_frames_and_of_other_sites_have_refs_in_the_same_space(
    show: Show, eyes: Eyes, site: Server
) -> None:
    away = site.url("/inner", host="localhost")
    page = await show(
        {
            "/": "<style>iframe { border: 0; margin: 30px; width: 400px; height: 300px }</style><button>Top</button>"
            f"<iframe src='{away}'></iframe>"
            "<button>Last</button>",
            "/inner": "<style>iframe { border: 0 }</style><form action=/in><button>Middle</button></form>"
            f"<iframe src='{site.url('/deep')}'></iframe>",
            "/deep": "<button>Deep</button>",
        }
    )
    observation = await eyes.observe(page)
    assert names(observation) == ["button Top", "button Middle", "button Deep", "button Last"]
    assert len(set(observation.elements)) == 4
    deep = named(observation, "Deep")
    assert deep.frame == site.url("/deep")
    assert named(observation, "Middle").frame == away
    assert observation.forms[named(observation, "Middle").form].action == site.url("/in", host="localhost")
    box = await (await eyes.handle(page, deep.ref)).bounding_box()
    assert box is not None
    assert deep.box[:2] == pytest.approx((box["x"], box["y"]), abs=1)
    await press(eyes, page, deep.ref)
    assert await eyes.received(page) == deep.ref
    [frame] = [node for node in observation.root if node.role == "frame"]
    assert [node.role for node in frame.children] == ["button", "frame"]


async def test_a_frame_whose_script_never_ends_is_left_out(
    show: Show, eyes: Eyes, site: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmos.tools.browser.eyes.LOOK_SECONDS", 0.5)
    busy = site.url("/busy", host="localhost")
    page = await show(
        {
            "/": f"<button>Top</button><iframe src='{busy}'></iframe>",
            "/busy": "<script>onload = () => setTimeout(() => { for (;;); }, 50)</script>",
        }
    )
    await asyncio.sleep(0.2)  # until it is busy
    observation = await eyes.observe(page)
    assert names(observation) == ["button Top"]
    assert any("did not answer" in notice for notice in observation.notices)


async def test_a_page_whose_script_never_ends_is_a_timeout(
    show: Show, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmos.tools.browser.eyes.LOOK_SECONDS", 0.2)
    page = await show("<button>Top</button>")
    busy = asyncio.ensure_future(page.evaluate("setTimeout(() => { for (;;); })"))
    await busy
    with pytest.raises(BrowserError) as error:
        await eyes.observe(page)
    assert error.value.reason == "timeout"


async def test_shadow_roots_are_seen_and_pressed_open_and_closed(show: Show, eyes: Eyes) -> None:
    page = await show(
        """<x-open></x-open><x-closed><b>slotted</b></x-closed><script>
        for (const mode of ['open', 'closed']) customElements.define('x-' + mode, class extends HTMLElement {
          constructor() { super(); this.attachShadow({ mode }).innerHTML =
            `<button onclick="document.title = '${mode}'">In ${mode} <slot></slot></button>`; } });
        document.title = String(document.querySelector('x-closed').shadowRoot);</script>"""
    )
    assert await page.title() == "null"
    observation = await eyes.observe(page)
    assert names(observation) == ["button In open", "button In closed slotted"]
    for name, title in (("In closed slotted", "closed"), ("In open", "open")):
        ref = named(observation, name).ref
        await press(eyes, page, ref)
        assert await page.title() == title
        assert await eyes.received(page) == ref


# ---- Text and structure


async def test_what_a_person_cannot_see_is_not_read(show: Show, eyes: Eyes) -> None:
    hidden = (
        "display: none",
        "visibility: hidden",
        "opacity: 0",
        "font-size: 0",
        "position: absolute; left: -9999px",
        "position: absolute; top: -9999px",
        "position: absolute; width: 1px; height: 1px; overflow: hidden",
        "width: 0; height: 0; overflow: hidden",
    )
    page = await show("<p>Shown</p>" + "".join(f"<p style='{style}'>Not shown: {style}</p>" for style in hidden))
    assert texts(await eyes.observe(page)) == "Shown"


async def test_structure_is_kept_and_wrappers_are_not(show: Show, eyes: Eyes) -> None:
    page = await show(
        """<div><div><main><h2>Head <em>line</em></h2><p>Some <a href=/x>linked</a> text.</p>
        <ul><li>One<li><a href=/y>Two</a></ul></main></div></div>
        <table><caption>Prices</caption><tr><th>What<th>Much<tr><td>Tea<td>2</table>
        <fieldset><legend>Size</legend><label><input type=radio>S</label></fieldset><img src=/none alt="A cat">"""
    )
    observation = await eyes.observe(page)

    def shape(nodes: tuple[Node, ...]) -> list[object]:
        return [(node.role, node.text, *shape(node.children)) for node in nodes]

    assert shape(observation.root) == [
        ("heading", "Head line"),
        ("paragraph", "", ("", "Some"), ("link", "linked"), ("", "text.")),
        ("list", "", ("listitem", "One"), ("link", "Two")),
        (
            "table",
            "Prices",
            ("row", "", ("columnheader", "What"), ("columnheader", "Much")),
            ("row", "", ("cell", "Tea"), ("cell", "2")),
        ),
        ("group", "Size", ("radio", "S")),
        ("img", "A cat"),
    ]
    assert observation.root[0].level == 2


async def test_what_is_scrolled_out_of_the_window_or_of_a_box_is_known_to_be(show: Show, eyes: Eyes) -> None:
    page = await show(
        "<button>In view</button><div style='height: 60px; overflow: auto'><div style='height: 200px'></div>"
        "<button>In the box</button></div><div style='height: 3000px'></div><button>Far down</button>"
    )
    observation = await eyes.observe(page)
    assert {element.name: element.seen for element in observation.elements.values()} == {
        "In view": True,
        "In the box": False,
        "Far down": False,
    }
    assert observation.above == 0
    assert observation.below > 2000
    await page.mouse.wheel(0, 1e6)
    await page.wait_for_function("scrollY > 2000")
    observation = await eyes.observe(page)
    assert named(observation, "Far down").seen
    assert observation.above > 2000
    assert observation.below <= 1


@pytest.mark.parametrize(
    "html",
    [
        "<dialog id=d><button>Yes</button></dialog><script>d.showModal()</script>",
        "<div role=dialog aria-modal=true style='position: fixed; inset: 20%'><button>Yes</button></div>",
        "<div style='position: fixed; inset: 0; background: rgba(0, 0, 0, 0.5)'><div style='margin: 30%; height: 30px'>"
        "Sure? <button>Yes</button></div></div>",
        "<div style='position: fixed; inset: 0; background: black; opacity: 0.5'></div><div style='position: fixed;"
        "inset: 20%; background: white; text-align: center; padding-top: 10%'>Sure? <button>Yes</button></div>",
    ],
)
async def test_the_dialog_on_top_is_marked(html: str, show: Show, eyes: Eyes) -> None:
    observation = await eyes.observe(await show(f"<button>Behind</button>{html}"))
    assert {element.name: element.modal for element in observation.elements.values()} == {"Behind": False, "Yes": True}
    assert any(node.modal for node in observation.root)


async def test_of_two_dialogs_the_later_one_is_on_top(show: Show, eyes: Eyes) -> None:
    page = await show(
        "<dialog id=a><button>First</button></dialog><dialog id=b><button>Second</button></dialog>"
        "<script>b.showModal(); a.showModal();</script>"
    )
    observation = await eyes.observe(page)
    assert named(observation, "First").modal
    assert not named(observation, "Second").modal


async def test_a_sheet_for_decoration_is_no_dialog(show: Show, eyes: Eyes) -> None:
    page = await show(
        "<div style='position: fixed; inset: 0; background: rgba(9, 9, 9, 0.1); pointer-events: none'></div>"
        "<button>Go</button>"
    )
    assert not named(await eyes.observe(page), "Go").modal


async def test_a_big_page_is_cut_and_says_so(show: Show, eyes: Eyes) -> None:
    page = await show("<script>document.write('<b>x</b>'.repeat(30000))</script>")
    assert any("very big" in notice for notice in (await eyes.observe(page)).notices)


# ---- Against Chromium's own names and roles

ROLES = {"generic": "clickable", "disclosuretriangle": "button", "": "clickable", "DisclosureTriangle": "button"}


async def test_names_and_roles_are_those_that_chromium_computes(show: Show, eyes: Eyes) -> None:
    page = await show(
        """<button>Plain</button><button aria-label=Label>x</button><button><img alt=Image src=/n> and text</button>
        <button title=Title></button><span id=one>One</span> <span id=two hidden>Two</span>
        <button aria-labelledby='one two'>x</button><label for=i>For</label><input id=i>
        <label>Around <input></label><label for=m>A</label><label for=m>B</label><input id=m><input placeholder=Place>
        <input title=Title placeholder=Place><input type=submit><input type=reset><input type=button value=Val>
        <input type=image alt=Alt src=/n><a href=/x><svg><title>Drawn</title></svg></a>
        <a href=/x>Block<div>inside</div>it</a><select aria-label=Sel><option>a</select>
        <a href=/x>Seen<span style='display: none'>not</span><span aria-hidden=true>nor</span></a>
        <div role=checkbox tabindex=0>Check</div><div role=tab tabindex=0>Tab</div>
        <div role=slider tabindex=0 aria-label=S>9</div>
        <input type=search aria-label=Find><input type=number aria-label=Num><textarea aria-label=Area></textarea>
        <button>a<br>b</button><label><input type=checkbox> Tick <b>this</b></label>
        <fieldset><legend>Group</legend><label><input type=radio>Radio</label></fieldset>"""
    )
    observation = await eyes.observe(page)
    assert len(observation.elements) == 27
    for element in observation.elements.values():
        handle = await eyes.handle(page, element.ref)
        name, role = await handle.evaluate("element => [element.computedName, element.computedRole]")
        assert (element.name, element.role) == (" ".join(name.split()), ROLES.get(role, role)), element
