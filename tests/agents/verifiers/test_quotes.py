"""Quotes: found word for word, with where, and nothing else counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmos.agents.report import Report, Source
from llmos.agents.verifiers import quotes_found
from llmos.agents.verifiers.quotes import find, plainly, quotes_of
from tests.agents.verifiers.conftest import Place

LEASE = (
    "# Lease\n\nThe lease ends on 31 March 2027.\n"
    "It needs three months\u2019 notice \u2014\nin writing, to Mrs Huber.\n"
)


async def test_quotes_are_found_across_line_breaks_and_kinds_of_dashes_with_their_place() -> None:
    check = quotes_found({"lease.md": LEASE})
    verdict = await check('It needs "three months\' notice - in writing" and \u201cends on 31 March 2027.\u201d')
    assert verdict.passed
    assert [reason.split()[-1] for reason in verdict.reasons] == ["lease.md:4", "lease.md:3"]


async def test_a_changed_word_is_no_quote() -> None:
    verdict = await quotes_found({"lease.md": LEASE})('It says "the lease ends on 30 March 2027".')
    assert verdict.outcome == "fail"
    assert "30 March" in verdict.reasons[0]


async def test_half_a_word_is_no_quote() -> None:
    assert (await quotes_found({"a": "the unhappy ending of it"})('"happy ending of it"')).outcome == "fail"


async def test_pieces_around_a_gap_must_follow_each_other() -> None:
    check = quotes_found({"lease.md": LEASE})
    assert (await check('"The lease ends \u2026 three months\u2019 notice"')).passed
    assert (await check('"three months\u2019 notice [...] The lease ends"')).outcome == "fail"


async def test_an_answer_without_a_telling_quote_cannot_be_told() -> None:
    check = quotes_found({"lease.md": LEASE})
    assert (await check("It ends in 2027.")).outcome == "unsure"
    assert (await check('It is "on" then.')).outcome == "unsure"
    assert (await quotes_found({})('"anything at all"')).outcome == "unsure"


async def test_claims_outside_quotes_are_looked_up_where_that_is_asked_for() -> None:
    check = quotes_found({"lease.md": LEASE}, claims=True)
    said = 'By "The lease ends on 31 March 2027" it is over then. '
    assert (await check(said + "Write to Mrs Huber.")).passed
    verdict = await check(said + "Write to Mrs Maier before 1999.")
    assert verdict.outcome == "fail"
    assert [reason.split("'")[1] for reason in verdict.reasons] == ["Maier", "1999"]


async def test_a_reports_sources_are_read_and_looked_up(place: Place) -> None:
    place.write("notes/lease.md", LEASE)
    good = Report(text="In 2027.", sources=(Source(place="notes/lease.md:3", quote="ends on 31 March 2027"),))
    verdict = await place.check(lambda process: quotes_found(process=process), good)
    assert verdict.passed
    assert verdict.reasons == ("\u201cends on 31 March 2027\u201d notes/lease.md:3",)
    lie = good.model_copy(update={"sources": (Source(place="notes/lease.md:3", quote="ends on 1 May 2030"),)})
    assert (await place.check(lambda process: quotes_found(process=process), lie)).outcome == "fail"
    away = good.model_copy(update={"sources": (Source(place="../secret.md", quote="ends on 31 March 2027"),)})
    assert (await place.check(lambda process: quotes_found(process=process), away)).outcome == "unsure"


async def test_what_the_worker_cites_itself_does_not_count_where_the_sources_are_given(place: Place) -> None:
    place.write("lease.md", LEASE)
    place.write("own.md", "The lease never ends.")
    report = Report(text='"The lease never ends"', sources=(Source(place="own.md", quote="The lease never ends"),))
    verdict = await place.check(lambda process: quotes_found(process=process, files=("lease.md",)), report)
    assert verdict.outcome == "fail"


async def test_long_files_are_read_to_their_end_and_once(place: Place) -> None:
    place.write("long.txt", "".join(f"line {number} of many lines that say little\n" for number in range(3000)))
    said = 'It says "line 2999 of many lines".'
    verdict = await place.check(lambda process: quotes_found(process=process, files=("long.txt",)), said, said)
    assert verdict.reasons == ("\u201cline 2999 of many lines\u201d long.txt:3000",)
    assert len({call.arguments for call in place.calls("act")}) == len(place.calls("act")) > 1


def test_all_ways_to_quote_are_seen() -> None:
    text = '"one here" \u201ctwo here\u201d \u201ethree here\u201c \u00abfour here\u00bb\n> five\n> here\n\n"" "!"'
    assert quotes_of(text) == ["one here", "two here", "three here", "four here", "five\nhere"]


async def test_a_flood_of_quotes_is_not_looked_up() -> None:
    flood = " ".join(f'"{number} is a number"' for number in range(60))
    source = {"a": " ".join(f"{number} is a number" for number in range(60))}
    assert (await quotes_found(source)(flood)).outcome == "unsure"


@given(st.lists(st.text("ab1 .\n", min_size=1, max_size=6), min_size=3, max_size=12), st.data())
def test_whatever_words_are_cut_from_a_source_are_found_in_it(parts: list[str], data: st.DataObject) -> None:
    source = " ".join(parts)
    words = source.split()
    if words:
        start = data.draw(st.integers(0, len(words) - 1))
        quote = "\n ".join(words[start : data.draw(st.integers(start + 1, len(words)))])
        if any(char.isalnum() for char in quote) and ".." not in quote:
            assert find(quote, {"source": plainly(source)}) is not None
