"""Reading from real prose: one known file, divided so that nothing of XQuAD is trained on."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmos.agents import jobs
from llmos.errors import StorageError
from llmos.learn.data import squad
from llmos.learn.data.example import Example, Split
from llmos.learn.data.squad import Squad, digest_of, held_out, squad_sheets, stands

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
ARTICLES, EACH = 17, 38


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the same form and size with invented paragraphs, taken for the real one."""
    raw = json.dumps({"version": "2", "data": [_article(number) for number in range(ARTICLES)]}).encode()
    monkeypatch.setattr(squad, "SHA256", hashlib.sha256(raw).hexdigest())
    file = tmp_path / "squad.json"
    file.write_bytes(raw)
    return file


def _article(number: int) -> dict[str, Any]:
    return {"title": f"Land {number}", "paragraphs": [_paragraph(number, place) for place in range(EACH)]}


def _paragraph(article: int, place: int) -> dict[str, Any]:
    number = article * EACH + place
    year, (town, bridge, king, *others) = str(1000 + number), [_name(number, part) for part in range(11)]
    filler = " ".join(
        f"Many people of {one} walk along the bank in the evening, and some of them sing." for one in others
    )
    text = f"{town} was founded in {year} by fishermen. {filler} The crossing of {town} is called {bridge}."
    return {
        "context": text,
        "qas": [
            _question(f"When was {town} founded?", [year, f"in {year}", year]),
            _question(f"How is {town} crossed?", [bridge, bridge, f"called {bridge}"]),
            _question(f"What happens along the bank in {others[0]}?", ["sing", "walk", "walk"]),
            _question(f"Why was {town} burned by {king}?", []),
            _question(f"Who left {others[1]} for {king}?", []),
            _question("Why?", [year]),
        ],
    }


def _name(number: int, part: int) -> str:
    """A name that shares no five letters with another."""
    code = number * 11 + part
    return "N" + "".join(chr(97 + code // 26**place % 26) for place in range(4)) + "holm"


def _question(text: str, answers: list[str]) -> dict[str, Any]:
    return {"question": text, "answers": [{"text": one} for one in answers], "is_impossible": not answers}


def sheets(path: Path, split: Split, count: int = 50) -> list[tuple[Example, ...]]:
    random, maker = Random(2), squad_sheets(path)
    return [tuple(maker(random, split)) for _ in range(count)]


def passages(example: Example) -> list[str]:
    shown = example.context.messages[1].content.partition("\n\nQuestion: ")[0]
    return [re.sub(r"^\[\d\] ", "", line) for line in shown.split("\n")]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        squad_sheets(tmp_path / "no.json")


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"data": []}')
    with pytest.raises(StorageError, match="not the expected file"):
        squad_sheets(other)


def test_sixty_paragraphs_of_xquad_are_known_by_digest_alone() -> None:
    assert len(held_out()) == 60
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in held_out())


def test_a_digest_is_blind_to_case_and_white_space() -> None:
    assert digest_of("One  Two\nthree") == digest_of("one two THREE")
    assert digest_of("one two") != digest_of("one three")


def test_the_first_480_are_for_training_without_those_held_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Squad.load(path)
    assert [len(whole.of(one)) for one in SPLITS] == [480, 83, 83]
    out = {digest_of(one.text) for one in (whole.train[3], whole.train[400], whole.test[0])}
    monkeypatch.setattr(squad, "held_out", lambda: out)
    less = Squad.load(path)
    assert set(whole.train) - set(less.train) == {whole.train[3], whole.train[400]}
    assert (less.validation, less.test) == (whole.validation, whole.test)


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_makes_the_same_sheets(path: Path, split: Split) -> None:
    assert sheets(path, split, 20) == sheets(path, split, 20)


@pytest.mark.parametrize("split", SPLITS)
def test_answers_stand_in_the_passage_they_name(path: Path, split: Split) -> None:
    for sheet in sheets(path, split):
        assert len({tuple(passages(one)) for one in sheet}) == 1
        for one in sheet:
            if one.answer != jobs.NOT_FOUND:
                answer, number = re.fullmatch(r"(.+) \[(\d)\]", one.answer, re.DOTALL).groups()  # type: ignore[union-attr]
                assert stands(answer, passages(one)[int(number) - 1])


def test_the_shortest_answer_that_two_people_gave_is_taken(path: Path) -> None:
    answers = {one.answer.rpartition(" [")[0] for sheet in sheets(path, "test") for one in sheet if one.kind == "found"}
    assert answers
    assert not any(one.startswith(("in ", "called ")) for one in answers)


def test_no_passage_answers_what_is_not_found(path: Path) -> None:
    squads = Squad.load(path)
    answers = {q.text: q.answers for split in SPLITS for p in squads.of(split) for q in p.questions}
    for sheet in sheets(path, "test"):
        for one in sheet:
            if one.answer == jobs.NOT_FOUND:
                question = one.context.messages[1].content.rpartition("\n\nQuestion: ")[2]
                assert not any(stands(answer, text) for answer in answers[question] for text in passages(one))


@pytest.mark.parametrize("split", SPLITS)
def test_three_of_ten_are_not_found(path: Path, split: Split) -> None:
    examples = [one for sheet in sheets(path, split, 150) for one in sheet]
    assert 0.24 <= sum(one.answer == jobs.NOT_FOUND for one in examples) / len(examples) <= 0.4


def test_paragraphs_of_one_split_are_never_shown_in_another(path: Path) -> None:
    names: dict[Split, set[str]] = {
        split: {
            name
            for sheet in sheets(path, split, 40)
            for one in sheet
            for name in re.findall(r"\w+holm", "\n".join(passages(one)))
        }
        for split in SPLITS
    }
    assert not names["train"] & (names["validation"] | names["test"])
    assert not names["validation"] & names["test"]


def test_a_sheet_stays_short(path: Path) -> None:
    for sheet in sheets(path, "train"):
        assert sum(len(text.split()) for text in passages(sheet[0])) <= 560
