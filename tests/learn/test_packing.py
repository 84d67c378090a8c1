"""Examples as sheets of token ids: what is learnt where, and that sharing a beginning changes nothing."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.errors import BadArguments
from llmos.learn.data.example import Example
from llmos.learn.packing import Encoded, Encoder, Packed, pack
from llmos.messages import Context, Message

if TYPE_CHECKING:
    from llmos.learn.model import Model

_ids = st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple)
_examples = st.builds(Encoded, _ids, _ids)
_groups = st.lists(st.lists(_examples, min_size=1, max_size=4), min_size=1, max_size=3)


def read_before(packed: Packed) -> dict[int, tuple[int, ...]]:
    """For each row of all sheets: what the model has read when it is at it, the row included. Rows of a beginning stand
    for every branch."""
    found: dict[int, tuple[int, ...]] = {}
    row = 0
    for sheet in packed.sheets:
        for place in range(len(sheet.beginning)):
            found[row] = tuple(sheet.beginning[: place + 1])
            row += 1
        for branch in sheet.branches:
            for place in range(len(branch)):
                found[row] = (*sheet.beginning, *branch[: place + 1])
                row += 1
    assert row == packed.tokens
    return found


@settings(deadline=None)  # the first call imports torch
@given(_groups)
def test_each_answer_is_learnt_once_after_what_stands_before_it(groups: list[list[Encoded]]) -> None:
    packed = pack(groups)
    before = read_before(packed)
    learnt = Counter((before[row], target) for row, target in zip(packed.rows, packed.targets, strict=True))
    wanted = Counter(
        ((*one.prompt, *one.answer[:place]), token)
        for group in groups
        for one in group
        for place, token in enumerate(one.answer)
    )
    assert learnt == wanted
    assert len(packed.weights) == len(packed.rows)


@settings(deadline=None)
@given(st.lists(_examples, min_size=2, max_size=4), _ids)
def test_a_beginning_in_common_is_read_once(examples: list[Encoded], beginning: tuple[int, ...]) -> None:
    group = [Encoded((*beginning, 9, *one.prompt), one.answer) for one in examples]
    (sheet,) = pack([group]).sheets
    assert tuple(sheet.beginning[: len(beginning) + 1]) == (*beginning, 9)


@cache
def _net(path: Path) -> Model:
    from llmos.learn.model import read

    return read(path).float()


@settings(max_examples=15, deadline=None)
@given(st.lists(_examples, min_size=1, max_size=4), _ids)
def test_sheets_say_the_same_as_their_parts_read_apart(
    model: Path, examples: list[Encoded], beginning: tuple[int, ...]
) -> None:
    import torch

    from llmos.learn.model import Sheet

    net = _net(model)
    group = [Encoded((*beginning, *one.prompt), one.answer) for one in examples]
    packed = pack([group, group[:1]])
    before = read_before(packed)
    with torch.no_grad():
        together = net.forward(packed.sheets, torch.tensor(packed.rows))
        for row, logits in zip(packed.rows, together, strict=True):
            read_alone = before[row]
            alone = net.forward([Sheet(read_alone[:1], [read_alone[1:] or (0,)])], torch.tensor([len(read_alone) - 1]))[
                0
            ]
            assert torch.allclose(logits, alone, atol=2e-3)


def test_examples_are_encoded_as_the_engine_reads_them(model: Path) -> None:
    encoder = Encoder(model)
    try:
        chat = encoder.encode(Example("chat", Context(messages=(Message("user", "Hi"),)), "Hello"))
        assert chat.answer[-1] == encoder.end
        assert len(chat.answer) > 1
        raw = encoder.encode(Example("chat", Context(text=""), "Some prose"))
        assert len(raw.prompt) == 1
        assert raw.answer[-1] != encoder.end
        with pytest.raises(BadArguments):
            encoder.encode(Example("chat", Context(messages=(Message("user", "Hi"),)), ""))
    finally:
        encoder.close()
