"""The map of what is remembered: where points stand, what is near, and pages that no text can break."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import shutil
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmos.errors import ConfigError
from llmos.memory.items import Filter, Item, Kind, NewItem, Span
from llmos.memory.map import Map, asked_by_query, asked_by_sum, draw, memory_map, terms
from llmos.memory.map_layout import COLOURS, By, brief, groups, place_of, project, tail
from llmos.memory.store import MemoryStore
from tests.memory.words import WordEmbedder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOPICS = {
    "kitchen.md": "soup onion garlic pan oven bread butter salt pepper recipe simmer roast flour knife",
    "harbour.md": "boat sail harbour tide anchor wind mast rope storm crew deck island compass wave",
    "garden.md": "seed soil tomato rose water spade compost bee frost prune leaf shade lawn hedge",
    "office.md": "meeting report budget invoice client deadline printer desk email salary project manager office",
}
SIZE = (1430, 924)
HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 1'><b>bold</b>",
    "<!-- <script> --!> ]]> {{ 7 * 7 }} {% endraw %} {{ data }} </title></noscript>",
    '"><svg onload="window.broken = 1">\u2028\u2029\x00\x1b[31m\u202egnol\ud800 $x_1$ \\frac 山の上',
)


def item(number: int, text: str, source: str = "a.md", *, kind: Kind = "passage", span: Span | None = None) -> Item:
    place = span or Span()
    return Item(id=number, seq=number, tenant="me", kind=kind, text=text, label="files", source=source, span=place)


def sentences(count: int = 200) -> list[tuple[str, str]]:
    """Texts with their sources, of four topics."""
    random = Random(5)
    names = list(TOPICS)
    chosen = [names[number % len(names)] for number in range(count)]
    return [(" ".join(random.sample(TOPICS[name].split(), 6)) + f" {place}", name) for place, name in enumerate(chosen)]


def drawn(texts: Sequence[str], *, query: str = "", like: str = "", by: By = "source", near: int = 10) -> Map:
    embedder = WordEmbedder()
    items = [item(number, text) for number, text in enumerate(texts, 1)]
    asked = [one for one in (asked_by_query(embedder, query), asked_by_sum(embedder, like)) if one]
    return draw(embedder.embed(texts), items, asked=asked, by=by, near=near)


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, and what its scripts say."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.shown = ""
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
        else:
            self.shown += data

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(next(text for kind, text in self.scripts if kind == "application/json"))
        return found


@pytest.fixture(autouse=True)
def no_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same map here as where UMAP is installed."""
    monkeypatch.setitem(sys.modules, "umap", None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    store = MemoryStore.open(tmp_path / "memory")
    yield store
    store.close()


def filled(store: MemoryStore, texts: Sequence[tuple[str, str]], tenant: str = "me") -> None:
    store.add([NewItem(tenant=tenant, kind="passage", text=text, label="files", source=name) for text, name in texts])


# -- sums of words


@pytest.mark.parametrize(
    ("like", "parts"),
    [
        ("king - man + woman", [(1, "king"), (-1, "man"), (1, "woman")]),
        ("king \u2212 man \u2013 crown", [(1, "king"), (-1, "man"), (-1, "crown")]),
        ("- man + king", [(-1, "man"), (1, "king")]),
        ("king -man +woman", [(1, "king"), (-1, "man"), (1, "woman")]),
        ("window seat - aisle  seat", [(1, "window seat"), (-1, "aisle seat")]),
        ('"a - b" + “C++ code” + C++', [(1, "a - b"), (1, "C++ code"), (1, "C++")]),
        ('"new york"-"new" city', [(1, "new york"), (-1, "new city")]),
        ("well-known", [(1, "well-known")]),
    ],
)
def test_a_sum_is_words_with_signs(like: str, parts: list[tuple[int, str]]) -> None:
    assert terms(like) == parts


@pytest.mark.parametrize(
    ("like", "problem"),
    [
        ("king -", "a sign has nothing"),
        ("king + - man", "a sign has nothing"),
        ('king + ""', "a sign has nothing"),
        ('king + "man', "no second quote"),
        ("- man", "nothing to take it from"),
    ],
)
def test_what_is_no_sum_of_words_is_refused_with_the_reason(like: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        terms(like)
    assert raised.value.hint


PHRASES = st.text(st.characters(blacklist_characters='"“”', blacklist_categories=["Cs"]), min_size=1).map(
    lambda text: " ".join(text.split())
)


@given(st.lists(st.tuples(st.sampled_from([1, -1]), PHRASES.filter(bool)), min_size=1, max_size=6))
def test_any_quoted_phrases_can_be_summed(parts: list[tuple[int, str]]) -> None:
    parts = [(1, parts[0][1]), *parts[1:]]
    assert terms(" ".join(f'{"+" if sign > 0 else "-"} "{words}"' for sign, words in parts)) == parts


def test_a_sum_finds_what_the_rest_of_it_means_and_not_its_own_words() -> None:
    texts = ["crown man", "man", "woman", "crown woman", "crown", "boat"]
    (found,) = drawn(texts, like="crown man - man + woman").neighbours
    assert found.role == "like"
    assert found.nearest[0].item.text == "crown woman"
    assert not {"crown man", "man", "woman"} & {near.item.text for near in found.nearest}


def test_a_sum_that_comes_to_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="cancel"):
        asked_by_sum(WordEmbedder(), "king - king")


# -- neighbours and places


def test_neighbours_are_those_by_cosine_in_all_dimensions() -> None:
    texts = [text for text, _ in sentences()]
    (found,) = drawn(texts, query="anchor in the harbour", near=7).neighbours
    embedder = WordEmbedder()
    cosines = embedder.embed(texts) @ embedder.embed(["anchor in the harbour"])[0]
    best = np.argsort(-cosines)[:7]
    assert [near.item.text for near in found.nearest] == [texts[row] for row in best]
    assert [near.cosine for near in found.nearest] == pytest.approx(cosines[best].tolist())


def test_a_text_that_is_there_twice_is_listed_once() -> None:
    (found,) = drawn(["blue boat", "Blue boat ", "red boat", "soup"], query="blue boat", near=3).neighbours
    assert [near.item.id for near in found.nearest] == [1, 3, 4]


def test_the_same_memory_gives_the_same_page_and_picture() -> None:
    texts = [text for text, _ in sentences(60)]
    first, second = (drawn(texts, query="onion soup", like="bread - butter") for _ in range(2))
    assert first == second


def test_texts_that_are_alike_stand_together() -> None:
    pairs = sentences()
    points = project(WordEmbedder().embed([text for text, _ in pairs]), np.zeros((0, 64), np.float32)).points
    names = np.array([name for _, name in pairs])
    middles = {name: points[names == name].mean(axis=0) for name in TOPICS}
    own = np.mean([np.linalg.norm(point - middles[name]) for point, name in zip(points, names, strict=True)])
    whole = [np.linalg.norm(point - points.mean(axis=0)) for point in points]
    assert own < 0.6 * np.mean(whole)
    assert np.abs(points).max() == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("dimension", [1, 2, 64])
def test_few_points_or_equal_ones_or_flat_ones_have_a_place(count: int, dimension: int) -> None:
    vectors = WordEmbedder(dimension).embed(["the same"] * count)
    found = project(vectors, WordEmbedder(dimension).embed(["another"]))
    assert found.points.shape == (count, 2)
    assert found.asked.shape == (1, 2)
    assert np.isfinite(found.points).all()
    assert np.isfinite(found.asked).all()


def test_an_empty_memory_is_drawn_and_says_so() -> None:
    found = drawn([], query="anything")
    assert found.notes == ("Nothing is remembered here.",)
    assert found.neighbours[0].nearest == ()
    assert "Nothing is remembered here." in Reader(found.html).shown
    assert size(found.png) == SIZE


def test_umap_is_used_where_it_is_installed_and_there_is_enough_to_map(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Mapper:
        def __init__(self, *, n_neighbors: int, min_dist: float, metric: str, random_state: int, n_jobs: int) -> None:
            made.append({"neighbours": n_neighbors, "seed": random_state, "metric": metric})

        def fit_transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
            return vectors[:, :2] * 3 + 5

        def transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
            return self.fit_transform(vectors)

    module = ModuleType("umap")
    monkeypatch.setattr(module, "UMAP", Mapper, raising=False)
    monkeypatch.setitem(sys.modules, "umap", module)
    texts = [text for text, _ in sentences(60)]
    found = drawn(texts, query="boat")
    assert "UMAP" in found.notes[0]
    assert made == [{"neighbours": 15, "seed": 0, "metric": "cosine"}]
    places: list[float] = Reader(found.html).data["x"]
    assert all(-1 <= place <= 1 for place in places)
    assert "principal components" in drawn(texts[:40]).notes[0]


# -- groups, and what is said of an item


def test_the_biggest_sources_have_colours_and_the_rest_shares_one() -> None:
    items = [item(number, "x", f"{number % 30:02}.md") for number in range(1, 95)]
    found = groups(items, "source")
    assert len(found.names) == len(found.colours) == len(set(found.colours)) == len(COLOURS) + 1
    assert found.names[-1] == "20 others"
    counts = Counter(found.of)
    assert sum(counts.values()) == len(items)
    assert found.names[:4] == ("01.md", "02.md", "03.md", "04.md")
    assert [found.names[group] for group in found.of][:2] == ["01.md", "02.md"]
    assert groups([item(1, "x", "")], "source").names == ("(no source)",)
    assert set(groups([item(1, "x"), item(2, "x", kind="fact")], "kind").names) == {"passage", "fact"}


def test_an_item_tells_where_it_stands() -> None:
    assert place_of(item(1, "x", span=Span(page=3, line=2))) == "p. 3"
    assert place_of(item(1, "x", span=Span(line=14, heading="Rent > Notice"))) == "line 14 · Rent > Notice"
    assert place_of(item(1, "x")) == ""


@given(st.text(st.characters()), st.integers(2, 50))
def test_a_shortened_text_fits_in_one_line_that_can_be_written(text: str, most: int) -> None:
    for line in (brief(text, most), tail(text, most)):
        assert len(line) <= most
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", line)
    flat = " ".join(text.split())
    if len(text) <= most and flat.isprintable():
        assert brief(text, most) == tail(text, most) == flat


# -- the page


@cache
def hostile_map(texts: tuple[str, ...]) -> Map:
    embedder = WordEmbedder()
    items = [item(number, text, text, span=Span(page=number, heading=text)) for number, text in enumerate(texts, 1)]
    asked = [asked_by_query(embedder, texts[0]), asked_by_sum(embedder, f'"{texts[1].replace(chr(34), "")}"')]
    return draw(embedder.embed(texts), items, asked=[one for one in asked if one])


def test_no_text_can_change_the_page() -> None:
    hostile = Reader(hostile_map(HOSTILE).html)
    harmless = Reader(hostile_map(("text one", "text two", "text three", "text four")).html)
    assert hostile.tags == harmless.tags
    assert {name for name, _ in hostile.attributes} == {name for name, _ in harmless.attributes}
    assert len(hostile.scripts) == 2
    assert hostile.scripts[1] == harmless.scripts[1]
    assert hostile.data["texts"] == [brief(text, 300) for text in HOSTILE]
    assert HOSTILE[0] in hostile.data["texts"][0]
    assert HOSTILE[1] in hostile.shown
    hostile_map(HOSTILE).html.encode("utf-8")


def test_only_the_script_of_the_page_may_run_and_nothing_is_fetched() -> None:
    page = Reader(hostile_map(HOSTILE).html)
    policy = next(value for name, value in page.attributes if name == "content" and value and "default-src" in value)
    digest = base64.b64encode(hashlib.sha256(page.scripts[1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    fetched = [value or "" for name, value in page.attributes if name in {"src", "href", "srcset", "action", "data"}]
    assert len(fetched) == 1
    assert fetched[0].startswith("data:image/png;base64,")


def test_without_scripts_the_page_has_the_picture_and_the_neighbours() -> None:
    found = drawn(["blue boat", "red boat", "onion soup"], query="blue boat")
    page = Reader(found.html)
    inside = re.search(r'<noscript><img src="data:image/png;base64,([^"]+)"', found.html)
    assert inside
    assert base64.b64decode(inside[1]) == found.png
    assert all(text in page.shown for text in ("blue boat", "red boat", "onion soup"))


def test_the_page_says_of_each_point_what_it_is() -> None:
    page = Reader(drawn(["blue boat", "onion soup"], query="boat", by="kind").html)
    data = page.data
    assert data["by"] == "kind"
    assert [data["sources"][number] for number in data["source"]] == ["a.md", "a.md"]
    assert data["kinds"] == ["passage", "passage"]
    assert data["labels"] == ["files", "files"]
    assert data["groups"]["kind"]["of"] == [0, 0]
    assert data["asked"][0]["rows"] == [0, 1]
    assert len(data["x"]) == len(data["y"]) == 2


def test_files_are_named_from_here_on_the_map_and_stay_whole_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    items = [item(1, "blue boat", str(tmp_path / "docs" / "harbour.md")), item(2, "onion soup", "/srv/soup.md")]
    embedder = WordEmbedder()
    asked = [one for one in [asked_by_query(embedder, "boat")] if one]
    found = draw(embedder.embed([one.text for one in items]), items, asked=asked)
    page = Reader(found.html)
    assert page.data["sources"] == ["docs/harbour.md", "/srv/soup.md"]
    assert sorted(page.data["groups"]["source"]["names"]) == ["/srv/soup.md", "docs/harbour.md"]
    assert str(tmp_path) not in found.html
    assert found.neighbours[0].nearest[0].item.source == items[0].source


# -- the picture


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_texts_with_formulas_and_letters_without_a_glyph_are_drawn() -> None:
    assert size(hostile_map(HOSTILE).png) == SIZE  # a missing glyph or a broken formula would warn or raise


def test_the_picture_shows_what_was_asked() -> None:
    texts = [text for text, _ in sentences(60)]
    plain, asked, other = drawn(texts), drawn(texts, query="onion soup"), drawn(texts, query="boat in a storm")
    assert len({plain.png, asked.png, other.png}) == 3


# -- from the store


def test_the_map_is_of_what_the_filter_lets_through(store: MemoryStore) -> None:
    filled(store, sentences(20))
    filled(store, [("a secret of another tenant", "secret.md")], tenant="other")
    found = memory_map(store, WordEmbedder(), Filter(tenant="me"), query="secret of another tenant")
    assert "secret.md" not in found.html
    assert "secret of another tenant" not in "".join(Reader(found.html).data["texts"])
    assert len(Reader(found.html).data["x"]) == 20
    only = memory_map(store, WordEmbedder(), Filter(tenant="me", sources=("garden.md",)))
    assert Reader(only.html).data["sources"] == ["garden.md"]


def test_a_text_is_embedded_once_and_kept(store: MemoryStore) -> None:
    filled(store, [*sentences(20), sentences(1)[0]])
    embedder = WordEmbedder()
    memory_map(store, embedder, Filter(tenant="me"))
    assert sorted(embedder.embedded) == sorted({text for text, _ in sentences(20)})
    again = WordEmbedder()
    memory_map(store, again, Filter(tenant="me"), query="boat")
    assert again.embedded == []


def test_of_many_items_a_sample_is_drawn_with_all_neighbours_and_a_notice(store: MemoryStore) -> None:
    filled(store, sentences(300))
    embedder, mine = WordEmbedder(), Filter(tenant="me")
    whole = memory_map(store, embedder, mine, query="anchor", like="roast - pan", near=5)
    sample = memory_map(store, embedder, mine, query="anchor", like="roast - pan", near=5, most=40)
    count = len(Reader(sample.html).data["x"])
    assert 40 <= count <= 50
    assert sample.notes[0].startswith(f"{count} of 300 items are drawn")
    assert sample.notes[0] in Reader(sample.html).shown
    for ours, theirs in zip(sample.neighbours, whole.neighbours, strict=True):
        assert [near.item for near in ours.nearest] == [near.item for near in theirs.nearest]


# -- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None or importlib.util.find_spec("playwright") is None:
        pytest.skip("there is no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page of 204 points, four of them hostile, opened from its file."""
    embedder = WordEmbedder()
    texts = [*sentences(), *((text, text) for text in HOSTILE)]
    items = [item(number, text, name) for number, (text, name) in enumerate(texts, 1)]
    query = asked_by_query(embedder, "anchor in the harbour")
    assert query
    path = tmp_path / "map.html"
    path.write_text(draw(embedder.embed([text for text, _ in texts]), items, asked=[query]).html, encoding="utf-8")
    tab = browser.new_page(viewport={"width": 1200, "height": 800})
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.goto(path.as_uri())
    yield tab
    assert tab.evaluate("window.broken") is None
    assert problems == []
    tab.close()


def painted(tab: Page) -> int:
    """How many pixels of the map have colour, after the next frame."""
    count: int = tab.evaluate(
        """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
            const canvas = document.querySelector('canvas');
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0;
            for (let at = 3; at < pixels.length; at += 4) count += pixels[at] > 100;
            done(count);
        })))"""
    )
    return count


def test_a_click_into_the_legend_hides_a_source_and_shows_it_again(tab: Page) -> None:
    before = painted(tab)
    assert before > 1000
    entry = tab.get_by_role("button", name="garden.md")
    entry.click()
    assert painted(tab) < 0.9 * before
    assert entry.get_attribute("aria-pressed") == "false"
    entry.click()
    tab.mouse.move(1190, 790)
    assert painted(tab) == pytest.approx(before, rel=0.05)  # a canvas that is read back may be drawn in another way


def test_a_search_leaves_what_has_the_words(tab: Page) -> None:
    before = painted(tab)
    tab.get_by_role("searchbox").fill("HARBOUR.md anchor")
    count = sum(name == "harbour.md" and "anchor" in text for text, name in sentences())
    assert tab.locator("#found").inner_text() == f"{count} of 204 found"
    assert painted(tab) < before


def test_a_neighbour_is_shown_on_the_map_with_its_text_and_source(tab: Page) -> None:
    first = tab.locator("[data-row]").first
    row = int(first.get_attribute("data-row") or "")
    first.click()
    shown = tab.locator("#tip").inner_text()
    assert sentences()[row][0] in shown
    assert "harbour.md" in shown


def test_a_point_under_the_mouse_tells_its_hostile_text_as_text(tab: Page) -> None:
    tab.get_by_role("searchbox").fill("onerror")
    frame = tab.locator("canvas").bounding_box()
    assert frame
    data = json.loads(tab.locator("#data").text_content() or "")
    row = data["texts"].index(HOSTILE[1])
    scale = 0.46 * min(frame["width"], frame["height"])
    x = frame["x"] + frame["width"] / 2 + data["x"][row] * scale
    tab.mouse.move(x, frame["y"] + frame["height"] / 2 - data["y"][row] * scale)
    assert HOSTILE[1] in tab.locator("#tip").inner_text()
    assert tab.locator("#tip img").count() == 0


def test_the_wheel_and_the_keys_zoom_and_move(tab: Page) -> None:
    pictures = [tab.locator("canvas").screenshot()]
    tab.mouse.move(400, 400)
    tab.mouse.wheel(0, -600)
    tab.mouse.move(401, 2)
    painted(tab)
    pictures.append(tab.locator("canvas").screenshot())
    tab.locator("canvas").press("ArrowLeft")
    painted(tab)
    pictures.append(tab.locator("canvas").screenshot())
    assert len(set(pictures)) == 3
    tab.get_by_role("button", name="Show all").click()
    tab.mouse.move(1190, 790)
    painted(tab)
    assert tab.evaluate("document.querySelector('#tip').hidden")
