"""What of a query is looked for, and in which forms; texts that say the same; situations that belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.memory.retrieval.duplicates import distinct
from llmos.memory.retrieval.situations import Situations, situations
from llmos.memory.retrieval.words import Words, content_words
from tests.memory.words import WordEmbedder


def found(query: str, text: str) -> float:
    """The share of a query's words that a text has."""
    words = Words(content_words(query))
    return len(words.found(text)) / len(words)


def test_function_words_are_left_out_unless_there_is_nothing_else() -> None:
    assert content_words("When does the lease of the flat end?") == ["lease", "flat", "end"]
    assert content_words("Who is it?") == ["who", "is", "it"]
    assert content_words("?!") == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("running", "He runs and ran."),
        ("city", "Two cities"),
        ("the dogs", "A DOG barked."),
        ("painted", "She paints."),
        ("Straße", "in der Straße"),
        ("合同结束", "这份合同将在三月结束"),
    ],
)
def test_words_are_found_in_other_forms(query: str, text: str) -> None:
    assert found(query, text) > 0


@pytest.mark.parametrize(
    ("query", "text"), [("cat", "the category"), ("art", "a part"), ("rent", "parental"), ("x", "")]
)
def test_words_are_not_found_inside_other_words(query: str, text: str) -> None:
    assert found(query, text) == 0


def test_rare_words_weigh_more() -> None:
    words = Words(["harbour", "boat"])
    texts = [words.found(text) for text in ("a boat", "the boat", "a boat in the harbour", "boats")]
    harbour, boat = words.weights(texts)
    assert harbour > boat > 0


@given(st.text(max_size=80), st.text(max_size=200))
def test_any_query_can_be_looked_for_in_any_text(query: str, text: str) -> None:
    words = Words(content_words(query))
    assert words.found(text) <= set(range(len(words)))
    assert len(words.weights([words.found(text)])) == len(words)


REPORT = "The harbour was closed for nine days in March because of ice, and no ferry went to the islands."


def test_near_duplicates_are_dropped_and_other_numbers_are_not() -> None:
    longer = " ".join(f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(60))
    texts = [longer, REPORT, REPORT.upper(), f"{longer} end", f"{REPORT} 2019", f"{REPORT} 2020", "ice", "Ice!", ""]
    assert distinct(texts) == [0, 1, 4, 5, 6, 8]
    assert distinct(texts, 2) == [0, 1]


@given(st.lists(st.text(max_size=20), max_size=12))
def test_the_first_of_equal_texts_stays(texts: list[str]) -> None:
    kept = distinct(texts)
    assert kept == sorted(kept)
    assert set(kept) >= {0} if texts else kept == []
    assert distinct([texts[place] for place in kept]) == list(range(len(kept)))


def test_a_request_and_a_wish_of_one_situation_have_more_in_common() -> None:
    known = Situations(np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32)[2:])
    request = np.eye(4, dtype=np.float32)[0]
    same, other = known.common(request, np.eye(4, dtype=np.float32)[2:])
    assert 0.99 < same <= 1.0001
    assert 0 <= other < 0.01


def test_situations_are_embedded_once_for_each_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    first = WordEmbedder(name="situations")
    assert situations(first) is situations(WordEmbedder(name="situations"))
    files = list((tmp_path / "cache" / "embedding").iterdir())
    assert len(files) == 1
    monkeypatch.setattr("llmos.memory.retrieval.situations._loaded", {})
    again = WordEmbedder(name="situations")
    situations(again)
    assert again.embedded == []
    monkeypatch.setattr("llmos.memory.retrieval.situations._loaded", {})
    files[0].write_bytes(b"damaged")
    situations(again)
    assert again.embedded
