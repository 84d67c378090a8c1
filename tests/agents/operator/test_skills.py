"""What was shown once becomes a file that people can read, and is done again with other values on changed pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.agents.operator import skills
from llmos.agents.operator.aligning import FITS, align
from llmos.agents.operator.finding import fitting
from llmos.agents.operator.hands import Done, Move
from llmos.agents.operator.learning import learn
from llmos.agents.operator.locating import Located, locate
from llmos.agents.operator.page import Page, Part, read_page
from llmos.agents.operator.replaying import Chooser, Found, NotReplayed, Replay
from llmos.agents.operator.skills import Parameter, Skill, Step
from llmos.errors import ConfigError

URL = "http://shop.test/tea"
Data = dict[str, Any]


def page(*elements: Data, url: str = URL, texts: Sequence[Data] = ()) -> Data:
    """A page as data: each element on a line of its own, in its row if it says one."""
    root: list[Data] = []
    for one in elements:
        node = {"role": one["role"], "text": one.get("name", ""), "ref": one["ref"]}
        before = [{"text": text} for text in one.get("row", ())]
        root.append({"role": "row", "children": [*before, node]} if before else node)
    kept = {one["ref"]: {key: value for key, value in one.items() if key != "row"} for one in elements}
    return {"url": url, "title": "Tea", "root": [*root, *texts], "elements": kept}


def element(ref: str, role: str, name: str = "", **more: object) -> Data:
    return {"ref": ref, "role": role, "name": name, "tag": "button" if role == "button" else "input", **more}


def act(action: str, ref: str, seen: Data, **more: object) -> Data:
    return {"action": action, "ref": ref, "page": seen, "url": seen["url"], **more}


SEARCH = page(
    element("e1", "searchbox", "Search", kind="text"),
    element("e2", "button", "Go", kind="submit"),
)
ROWS = page(
    element("e3", "button", "Add", row=["Assam", "4.50"]),
    element("e4", "button", "Add", row=["Ceylon", "5.20"]),
)


def taught(task: str = "Buy Assam tea", url: str = URL, *acts: Data, end: Data | None = None) -> Skill:
    return learn("tea", {"task": task, "url": url, "acts": acts, "end": end or {}})


# ---- Learning


def test_what_was_typed_and_stands_in_the_words_is_a_parameter() -> None:
    skill = taught("Search for Assam", URL, act("fill", "e1", SEARCH, value="Assam"), act("click", "e2", SEARCH))
    assert skill.task == "Search for {search}"
    assert [step.value for step in skill.steps] == ["{search}", ""]
    assert skill.steps[0].does == "type “{search}” into searchbox “Search”"
    assert [one.name for one in skill.parameters] == ["search"]


def test_what_does_not_stand_in_the_words_stays_as_it_is() -> None:
    skill = taught("Find my tea", URL, act("fill", "e1", SEARCH, value="Assam"))
    assert (skill.task, skill.steps[0].value, skill.parameters) == ("Find my tea", "Assam", ())


def test_the_row_that_the_words_name_tells_one_button_from_another() -> None:
    skill = taught("Buy Assam tea", URL, act("click", "e3", ROWS))
    assert skill.task == "Buy {name} tea"
    assert (skill.steps[0].name, skill.steps[0].beside) == ("Add", "{name}")


def test_a_name_that_does_the_same_each_time_is_no_parameter_but_a_quoted_one_is() -> None:
    plain = taught("Type it and click Go", URL, act("click", "e2", SEARCH))
    assert (plain.task, plain.steps[0].name) == ("Type it and click Go", "Go")
    quoted = taught('Click on "Go"', URL, act("click", "e2", SEARCH))
    assert (quoted.task, quoted.steps[0].name) == ('Click on "{button}"', "{button}")


def test_a_name_with_a_price_in_it_is_known_by_its_parameter() -> None:
    seen = page(element("e1", "link", "Assam 4.50 €"), element("e2", "link", "Help"))
    skill = taught("Show me Assam", URL, act("fill", "e1", SEARCH, value="Assam"), act("click", "e1", seen))
    assert skill.steps[1].name == "{search}…"


def test_a_date_is_a_parameter_in_whatever_way_it_is_written() -> None:
    seen = page(element("e1", "textbox", "Day", kind="date"))
    skill = taught("Book for 3 May 2027", URL, act("fill", "e1", seen, value="2027-05-03"))
    assert (skill.task, skill.steps[0].value) == ("Book for {day}", "{day}")


def test_a_private_value_is_a_parameter_if_it_was_said_and_else_a_secret() -> None:
    seen = page(element("e1", "textbox", "Password", kind="password"))
    task = 'Log in with "tulip-9"'
    said = taught(task, URL, act("fill", "e1", seen, private=True, said=(13, 20)))
    assert (said.task, said.parameters[0].kind) == ('Log in with "{password}"', "secret")
    unsaid = taught("Log in", URL, act("fill", "e1", seen, private=True, said=None))
    assert unsaid.steps[0].value == "secret://tea-password"
    assert unsaid.handles == ("secret://tea-password",)
    assert "tulip" not in skills.write(said)


def test_what_an_act_brought_about_is_kept_to_be_looked_for() -> None:
    there = page(element("e9", "button", "Pay"), url="http://shop.test/cart?id=5")
    told = page(*SEARCH["elements"].values(), texts=[{"role": "heading", "text": "3 teas found"}])
    opened = taught("Go on", URL, act("click", "e2", SEARCH), act("click", "e9", there))
    assert opened.steps[0].expects == "opens /cart"
    assert taught("Go on", URL, act("click", "e2", SEARCH), end=told).steps[0].expects == "shows 3 teas found"


def test_nothing_shown_is_nothing_learned() -> None:
    with pytest.raises(ConfigError, match="Nothing was shown"):
        taught("Buy", URL)


# ---- Files

_TEXTS = st.text(max_size=30)
_STEPS = st.builds(
    Step,
    action=st.sampled_from(["click", "fill"]),
    role=_TEXTS,
    name=_TEXTS,
    near=_TEXTS,
    value=_TEXTS.filter(lambda text: "{" not in text),
    place=st.integers(1, 9),
    options=st.lists(_TEXTS, max_size=3).map(tuple),
)


@given(steps=st.lists(_STEPS, min_size=1, max_size=4), task=_TEXTS)
def test_a_file_says_all_that_the_skill_is(steps: list[Step], task: str) -> None:
    skill = Skill(
        name="any",
        task=task,
        url=URL,
        steps=tuple(steps),
        parameters=tuple(
            Parameter(name=one, quoted=True)
            for one in sorted({*skills.holes(task)} | {h for s in steps for h in s.parameters})
        ),
    )
    assert skills.parse(skills.write(skill), "any") == skill
    assert skills.read(skills.data_of(skill)) == skill


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version = 2", "version 2"),
        ('version = 1\ntask = "a"\nurl = "http://a.test"\n[[steps]]\naction = "fly"', "no action 'fly'"),
        ('version = 1\ntask = "a"\nurl = "http://a.test"\n[[steps]]\naction = "click"\nid = "x"', "no 'id'"),
        ('version = 1\ntask = "a {b}"\nurl = "http://a.test"\n[[steps]]\naction = "click"', "not among its parameters"),
        ('version = 1\ntask = "a"\nurl = "file:///etc"\n[[steps]]\naction = "click"', "no address"),
        ('version = 1\ntask = 3\nurl = "http://a.test"\n[[steps]]\naction = "click"', "has a mistake"),
        ("version = 1\ntask =", "not valid TOML"),
    ],
)
def test_a_damaged_file_is_told_of(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        skills.parse(text, "broken")


@pytest.mark.parametrize("name", ["", "../up", "A", "a b", "a" * 65, ".toml"])
def test_a_name_stays_in_its_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="can't be the name"):
        skills.path_of(name)


# ---- The words


def lesson(task: str, *names: str, quoted: bool = False) -> Skill:
    known = tuple(Parameter(name=name, quoted=quoted) for name in names)
    return Skill(name="tea", task=task, url=URL, parameters=known, steps=(Step(action="click"),))


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("Order 3 packets of Green Dragon", {"amount": "3", "tea": "Green Dragon"}),
        ("order 12 packets of Assam.", {"amount": "12", "tea": "Assam"}),
        ("Please order 4 packets of Earl Grey", {"amount": "4", "tea": "Earl Grey"}),
        ("Order 4 boxes of Darjeeling", {"amount": "4", "tea": "Darjeeling"}),
    ],
)
def test_other_values_are_taken_from_their_places(task: str, values: Mapping[str, str]) -> None:
    fit = align(lesson("Order {amount} packets of {tea}", "amount", "tea"), task)
    assert {name: said.text for name, said in fit.values.items()} == values
    assert fit.share >= FITS
    assert all(task[said.start : said.end] == said.text for said in fit.values.values())


def test_other_words_do_not_fit() -> None:
    skill = lesson("Order {amount} packets of {tea}", "amount", "tea")
    assert align(skill, "What is the weather in Bonn?").share < 0.3
    assert align(skill, "Cancel my last order").share < FITS
    assert align(skill, "").share == 0
    delete = lesson("Delete the mail by {who} from the inbox of the office", "who")
    assert align(delete, "Forward the mail by Ann from the inbox of the office").share < 0.5
    assert align(delete, "Please delete the mail by Ann from the inbox of the office").share > FITS


@given(amount=st.integers(0, 10**6), tea=st.from_regex(r"[A-Z][a-z]{1,9}( [A-Z][a-z]{1,9}){0,2}", fullmatch=True))
def test_a_value_is_found_whatever_it_is(amount: int, tea: str) -> None:
    fit = align(lesson("Order {amount} packets of {tea}", "amount", "tea"), f"Order {amount} packets of {tea}")
    assert {name: said.text for name, said in fit.values.items()} == {"amount": str(amount), "tea": tea}


def test_quotes_are_not_a_part_of_a_value() -> None:
    skill = lesson('Reply "{text}" to {who}', "text", "who", quoted=True)
    values = align(skill, 'Reply "See you, then." to Ann').values
    assert (values["text"].text, values["who"].text) == ("See you, then.", "Ann")


def test_the_skill_that_fits_clearly_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    order = replace(lesson("Order {amount} packets of {tea}", "amount", "tea"), name="order")
    cancel = replace(lesson("Cancel the order of {tea}", "tea"), name="cancel")
    for skill in (order, cancel):
        skills.save(skill)
    skills.path_of("broken").write_text("version =")
    found = fitting("Order 5 packets of Assam")
    assert found is not None
    assert found.skill == order
    assert fitting("Order 5 packets of Assam", url="http://other.test/") is None
    assert fitting("Fly to the moon") is None
    skills.save(replace(order, name="order-again"))
    assert fitting("Order 5 packets of Assam") is None, "two fit as well"


def test_what_is_near_in_meaning_is_taken_if_its_words_fit_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    skills.save(replace(lesson("Order {amount} packets of {tea} for the office", "amount", "tea"), name="order"))
    task = "Order 5 boxes of Assam for our people"
    assert fitting(task) is None
    asked: list[str] = []

    def near(words: str, most: int) -> Sequence[str]:
        asked.append(words)
        return ["gone", "order"][:most]

    found = fitting(task, near=near)
    assert asked == [task]
    assert found is not None
    assert found.skill.name == "order"
    assert found.fit.values["tea"].text == "Assam"


# ---- The control


def seen(*elements: Data) -> Page:
    found = read_page(page(*elements))
    assert found is not None
    return found


ADD = Step(action="click", role="button", name="Add", tag="button")


def test_role_and_name_are_enough_if_only_one_has_them() -> None:
    found = locate(
        seen(element("e5", "link", "Add"), element("e7", "button", "Add"), element("e8", "button", "No")), ADD
    )
    assert (found.part and found.part.ref, found.by) == ("e7", "name")


def test_the_row_decides_between_equals() -> None:
    now = seen(element("e5", "button", "Add", row=["Ceylon"]), element("e7", "button", "Add", row=["Assam"]))
    found = locate(now, replace(ADD, beside="Assam"))
    assert (found.part and found.part.ref, found.by) == ("e7", "neighbours")
    assert locate(now, replace(ADD, beside="Oolong")) == Located(None, "nobody")


def test_a_renamed_button_is_found_by_how_alike_it_is_but_only_clearly() -> None:
    step = replace(ADD, name="Add to cart", near="Assam")
    now = seen(element("e5", "button", "Add to basket", near="Assam"), element("e6", "link", "Help"))
    assert (found := locate(now, step)).by == "likeness"
    assert found.part is not None
    assert found.part.ref == "e5"
    twins = seen(element("e5", "button", "Add to bag"), element("e6", "button", "Add to box"))
    unclear = locate(twins, replace(ADD, name="Add to cart"))
    assert unclear.part is None
    assert [one.part.ref for one in unclear.candidates] == ["e5", "e6"]


def test_what_is_disabled_or_behind_a_dialog_is_not_meant() -> None:
    assert locate(seen(element("e5", "button", "Add", states=["disabled"])), ADD).part is None
    behind = seen(element("e5", "button", "Add"), element("e6", "button", "Close", modal=True))
    assert locate(behind, ADD).part is None


def test_of_several_that_the_words_name_alike_the_first_will_do() -> None:
    now = seen(element("e5", "button", "Go"), element("e6", "button", "Go"))
    step = replace(ADD, name="Go")
    assert locate(now, step).part is None
    found = locate(now, step, free=True)
    assert found.part is not None
    assert (found.part.ref, found.candidates[0].likeness) == ("e5", 0.5)


# ---- Doing it again


@dataclass
class Fake:
    """Hands on pages that follow each other, one for each action."""

    pages: list[Data]
    moves: list[Move] = field(default_factory=list[Move])
    reasons: list[str] = field(default_factory=list[str])
    page: Page = field(default_factory=Page)

    async def look(self) -> Done:
        self.page = seen_of(self.pages[0])
        return Done(self.page)

    async def goto(self, url: str) -> Done:
        return await self.do(Move("click", text=url))

    async def do(self, move: Move) -> Done:
        self.moves.append(move)
        if self.reasons:
            return Done(self.page, (), self.reasons.pop(0), "no")
        del self.pages[0]
        return await self.look()


def seen_of(data: Data) -> Page:
    found = read_page(data)
    assert found is not None
    return found


async def no_wait(_: float) -> None:
    return None


async def again(skill: Skill, task: str, hands: Fake, choose: Chooser | None = None) -> Replay:
    await hands.look()
    replay = Replay(hands, skill, task, align(skill, task).values, choose, no_wait)
    await replay.run()
    return replay


def search_skill() -> Skill:
    return taught("Search for Assam", URL, act("fill", "e1", SEARCH, value="Assam"), act("click", "e2", SEARCH))


def filled(value: str) -> Data:
    return page(element("e1", "searchbox", "Search", kind="text", value=value), element("e2", "button", "Go"))


async def test_the_new_words_value_is_typed_and_its_place_in_the_words_is_told() -> None:
    hands = Fake([SEARCH, filled("Oolong"), filled("Oolong")])
    replay = await again(search_skill(), "Search for Oolong", hands)
    assert [move.text for move in hands.moves] == ["Oolong", ""]
    assert hands.moves[0].origin is not None
    assert (hands.moves[0].origin.start, hands.moves[0].origin.end) == (11, 17)
    assert (replay.found, replay.healed, replay.unsure) == (["name", "name"], {}, False)


async def test_a_step_found_by_other_marks_is_mended_after_its_effect_was_seen() -> None:
    skill = search_skill()
    now = page(element("e1", "searchbox", "Search all teas", kind="text"), element("e2", "button", "Go"))
    after = page(
        element("e1", "searchbox", "Search all teas", kind="text", value="Oolong"), element("e2", "button", "Go")
    )
    replay = await again(skill, "Search for Oolong", Fake([now, after, after]))
    assert replay.found == ["likeness", "name"]
    assert {number: step.name for number, step in replay.healed.items()} == {0: "Search all teas"}
    mended = skills.mended(skill, replay.healed)
    assert mended.steps[0].value == "{search}"
    assert locate(seen_of(now), mended.steps[0]).by == "name"


async def test_a_step_without_its_effect_is_not_mended_and_stops_the_run() -> None:
    now = page(element("e1", "searchbox", "Search all teas", kind="text"), element("e2", "button", "Go"))
    with pytest.raises(NotReplayed, match="Step 1 of 'tea'"):
        await again(search_skill(), "Search for Oolong", Fake([now, now, now]))


async def test_what_stays_open_is_chosen_by_whoever_can_and_else_not_done() -> None:
    skill = taught("Buy it", URL, act("click", "e3", page(element("e3", "button", "Add to cart"))))
    twins = page(element("e5", "button", "Add to bag"), element("e6", "button", "Add to box"))
    with pytest.raises(NotReplayed, match="which one is it: button “Add to bag”, button “Add to box”"):
        await again(skill, "Buy it", Fake([twins, twins]))

    async def second(page: Page, words: str, moves: list[Move]) -> tuple[Part, Found, float]:
        assert words == "click button “Add to cart”"
        assert moves[1].part is not None
        return moves[1].part, "person", 1.0

    hands = Fake([twins, twins])
    replay = await again(skill, "Buy it", hands, second)
    assert replay.found == ["person"]
    assert hands.moves[0].part is not None
    assert hands.moves[0].part.ref == "e6"


async def test_a_skill_acts_only_where_it_was_shown() -> None:
    elsewhere = page(*SEARCH["elements"].values(), url="http://evil.test/tea")
    hands = Fake([elsewhere, elsewhere, elsewhere])
    with pytest.raises(NotReplayed, match=r"evil\.test.*not taught"):
        await again(search_skill(), "Search for Oolong", hands)
    assert hands.moves == []


async def test_a_box_that_is_as_it_should_be_is_left_alone() -> None:
    box = page(element("e1", "checkbox", "News", kind="checkbox"))
    on = page(element("e1", "checkbox", "News", kind="checkbox", states=["checked"]))
    skill = taught("Take the news", URL, act("click", "e1", box, chosen=True))
    assert skill.steps[0].expects == "chosen"
    hands = Fake([on])
    await again(skill, "Take the news", hands)
    assert hands.moves == []


async def test_a_control_that_was_not_reached_is_looked_for_once_more() -> None:
    hands = Fake([SEARCH, filled("Oolong"), filled("Oolong")], reasons=["stale"])
    await again(search_skill(), "Search for Oolong", hands)
    assert len(hands.moves) == 3
    with pytest.raises(NotReplayed, match="no"):
        await again(search_skill(), "Search for Oolong", Fake([SEARCH], reasons=["commit"]))
