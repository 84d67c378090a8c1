"""Passages: nothing is lost, nothing is made up, nothing is too long, and what belongs together stays together."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.memory.reading import Block, Document, Passage, Section, passages
from llmos.memory.reading.markdown import read_markdown
from llmos.memory.reading.plain import read_lines, read_text
from llmos.memory.reading.sentences import estimate, sentences

WORDS = ["lease", "ends", "in", "March", "2027", "the", "rent", "is", "nine", "hundred", "euros", "a", "month"]

texts = st.one_of(
    st.text(max_size=600),
    st.text(alphabet="ab. \n\t#-|`*=1。!é漢", max_size=900),
    st.lists(st.sampled_from([*WORDS, ".", "\n", "\n\n", "# ", "- ", "| a | b |\n"]), max_size=300).map(" ".join),
)


def check(document: Document, found: list[Passage], tokens: int) -> None:
    """What holds for the passages of any document."""
    covered = bytearray(len(document.text))
    for passage in found:
        start, stop = passage.span.start, passage.span.stop
        assert start is not None
        assert stop is not None
        assert document.text[start:stop] == passage.text
        assert passage.text.strip()
        assert estimate(passage.text) <= tokens
        covered[start:stop] = b"\1" * (stop - start)
    lost = [(place, sign) for place, sign in enumerate(document.text) if not sign.isspace() and not covered[place]]
    assert not lost


@settings(max_examples=150, deadline=None)
@given(text=texts, tokens=st.integers(8, 60))
def test_passages_of_any_text_hold_all_of_it_and_nothing_else_and_are_bounded(text: str, tokens: int) -> None:
    text = text.replace("\r", "\n")
    for read in (read_text, read_lines, read_markdown):
        document = read(text, "a")
        check(document, passages(document, tokens=tokens, overlap=tokens // 4), tokens)


blocks = st.tuples(st.integers(-5, 300), st.integers(-5, 300), st.sampled_from(["heading", "prose", "lines"]))


@settings(max_examples=150, deadline=None)
@given(text=texts, sections=st.lists(st.lists(blocks, max_size=6), max_size=4))
def test_whatever_blocks_a_reader_finds_nothing_of_the_text_is_lost(
    text: str, sections: list[list[tuple[int, int, str]]]
) -> None:
    size = len(text)
    made = tuple(
        Section(blocks=tuple(Block(max(0, min(a, size)), max(0, min(b, size)), shape) for a, b, shape in section))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        for section in sections
    )
    document = Document(title="a", text=text, sections=made, form="text")
    check(document, passages(document, tokens=20, overlap=5), 20)


@given(text=texts)
def test_sentences_are_the_text_without_gaps(text: str) -> None:
    found = list(sentences(text, 0, len(text)))
    assert "".join(text[start:stop] for start, stop in found) == text


def prose(paragraphs: int, seed: int = 0) -> list[str]:
    """Paragraphs of a few sentences."""
    chance = random.Random(seed)

    def sentence() -> str:
        return "So " + " ".join(chance.choices(WORDS, k=chance.randint(5, 20))) + "."

    return [" ".join(sentence() for _ in range(chance.randint(2, 7))) for _ in range(paragraphs)]


def test_sentences_are_not_torn() -> None:
    document = read_text(" ".join(prose(40)), "a")
    for passage in passages(document):
        assert passage.text.startswith("So ")
        assert passage.text.endswith(".")


def test_paragraphs_that_are_short_enough_are_not_torn() -> None:
    parts = prose(60)
    found = passages(read_text("\n\n".join(parts), "a"))
    whole = [part for part in parts if estimate(part) <= 200]
    assert len(whole) > 50
    assert all(any(part in passage.text for passage in found) for part in whole)


def test_neighbours_in_a_section_share_their_last_sentences() -> None:
    found = passages(read_text(" ".join(prose(40)), "a"))
    shared = [(before.span.stop or 0) - (after.span.start or 0) for before, after in pairwise(found)]
    assert sum(length > 0 for length in shared) > len(shared) / 2
    without = passages(read_text(" ".join(prose(40)), "a"), overlap=0)
    assert all((a.span.stop or 0) <= (b.span.start or 0) for a, b in pairwise(without))


def test_a_heading_stays_with_what_follows_it() -> None:
    text = "\n\n".join(f"## Part {number}\n\n{part}" for number, part in enumerate(prose(30)))
    for passage in passages(read_markdown(text, "a")):
        assert not passage.text.splitlines()[-1].startswith("#")


def test_list_items_and_rows_are_not_torn() -> None:
    items = [f"- {part[:200].strip()}" for part in prose(60)]
    rows = [f"| {number} | {part[:60].strip()} |" for number, part in enumerate(prose(60, seed=1))]
    text = "\n".join([*items, "", "| n | text |", "|---|---|", *rows])
    found = passages(read_markdown(text, "a"))
    assert all(any(line in passage.text for passage in found) for line in [*items, *rows])


def test_a_passage_knows_its_lines_and_headings() -> None:
    text = "# House\n\n## Lease\n\nIt ends in March.\nThe rent is 900.\n\n## Garden\n\nRoses.\n"
    lease, garden = passages(read_markdown(text, "a"))
    assert (lease.span.heading, lease.span.line, lease.span.last_line) == ("House > Lease", 1, 6)
    assert (garden.span.heading, garden.span.line, garden.span.last_line) == ("House > Garden", 8, 10)


def test_a_change_at_the_beginning_leaves_most_passages_as_they_were() -> None:
    for text in (" ".join(prose(120)), "\n".join(f"{n} {WORDS[n % 13]} {n * 7919 % 1009}" for n in range(2000))):
        read = read_text if "." in text else read_lines
        before = {passage.text for passage in passages(read(text, "a"))}
        after = {passage.text for passage in passages(read("One line more.\n" + text, "a"))}
        assert len(before) > 20
        assert len(before - after) <= len(before) * 0.4


def test_passages_are_about_as_long_as_wanted() -> None:
    found = passages(read_text(" ".join(prose(200)), "a"))
    lengths = [estimate(passage.text) for passage in found[:-1]]
    assert min(lengths) >= 100
    assert sum(lengths) / len(lengths) >= 130


@pytest.mark.parametrize(("tokens", "overlap"), [(7, 0), (200, 100), (200, -1)])
def test_lengths_that_make_no_sense_are_refused(tokens: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="can't be made"):
        passages(read_text("a", "a"), tokens=tokens, overlap=overlap)
