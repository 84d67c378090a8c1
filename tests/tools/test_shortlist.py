"""The tools that fit a request are among the first few; `python -m tests.tools.test_shortlist` prints how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmos.errors import ModelInvalid
from llmos.kernel.protocols import Device
from llmos.memory.embedding import open_embedder
from llmos.tools import load_tools, tool
from llmos.tools.registry import BUILT_IN
from llmos.tools.shortlist import Shortlist
from tests.tools.requests import REQUESTS


def offered() -> list[Device]:
    """The tools among which agents choose: the browser's are the operator's."""
    return [one for name, one in load_tools(BUILT_IN).items() if not name.startswith("browser_")]


def hits(shortlist: Shortlist, k: int) -> float:
    """The share of requests of which one of the right tools is among the first k."""
    found = sum(bool(set(tools) & set(shortlist.best(request, k))) for request, tools in REQUESTS)
    return found / len(REQUESTS)


def test_words_alone_find_most_tools_at_once() -> None:
    shortlist = Shortlist(offered())
    assert hits(shortlist, 3) >= 0.7
    started = time.perf_counter()
    for request, _ in REQUESTS:
        shortlist.best(request)
    assert (time.perf_counter() - started) / len(REQUESTS) < 0.02


@pytest.mark.model
def test_with_the_embedding_model_nearly_all_are_found() -> None:
    shortlist = Shortlist(offered(), embed=open_embedder().embed, wait=True)
    assert shortlist.ready
    assert hits(shortlist, 3) >= 0.9


def test_a_tool_is_found_by_its_name_its_parameters_and_its_examples() -> None:
    @tool(effect="reads")
    def weather(town: str) -> str:
        """Forecast."""
        return town

    @tool(effect="reads", examples=(("how are the roads?", {"place": "A4"}),))
    def traffic(place: str) -> str:
        """Jams."""
        return place

    shortlist = Shortlist([weather, traffic])
    assert shortlist.best("the weather please", 1) == ["weather"]
    assert shortlist.best("roads?", 1) == ["traffic"]
    assert shortlist.best("which town", 1) == ["weather"]
    assert shortlist.best("", 5) == ["traffic", "weather"]
    assert Shortlist([]).best("anything") == []


def numbers(texts: Sequence[str]) -> NDArray[Any]:
    """Vectors by which letters occur."""
    vectors = np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], dtype=np.float32)
    lengths: NDArray[Any] = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    unit: NDArray[Any] = vectors / lengths
    return unit


def test_while_the_model_loads_words_serve() -> None:
    release = threading.Event()

    def slow(texts: Sequence[str]) -> NDArray[Any]:
        release.wait(10)
        return numbers(texts)

    shortlist = Shortlist(load_tools(["calculator", "read_file"]).values(), embed=slow)
    assert not shortlist.ready
    assert shortlist.best("what is 3 plus 4", 1) == ["calculator"]
    release.set()
    for _ in range(200):
        if shortlist.ready:
            break
        time.sleep(0.02)
    assert shortlist.ready
    assert len(shortlist.best("what is 3 plus 4")) == 2


def test_a_model_that_can_not_be_loaded_leaves_the_words() -> None:
    def broken(texts: Sequence[str]) -> NDArray[Any]:
        raise ModelInvalid("The file is damaged.")

    shortlist = Shortlist(load_tools(["calculator"]).values(), embed=broken, wait=True)
    assert not shortlist.ready
    assert shortlist.best("3 + 4") == ["calculator"]


if __name__ == "__main__":
    for title, found in (
        ("words", Shortlist(offered())),
        ("words and MiniLM", Shortlist(offered(), embed=open_embedder().embed, wait=True)),
    ):
        print(title, {k: round(hits(found, k), 3) for k in (1, 2, 3, 5)}, f"of {len(REQUESTS)}")
        for request, tools in REQUESTS:
            if not set(tools) & set(found.best(request, 3)):
                print("   ", request, tools, found.best(request, 3))
