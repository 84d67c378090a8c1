"""From examples to token ids: contexts and answers as the engine would read them, the beginnings they share once.

The engine's own chat format and vocabulary are used, so that what is trained is what is asked later. Knows no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.errors import BadArguments
from llmos.learn.data.example import Example

if TYPE_CHECKING:
    from llmos.learn.model import Sheet


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids; the answer with the token that ends the turn."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """Sheets of token ids, and which of their tokens are learnt.

    Attributes:
        rows: Of all sheets one after the other, those that say the next token; shape (N,).
        targets: What they should say, shape (N,).
        weights: How much each counts: an answer of n tokens counts √n, so that long ones do not drown the short.
    """

    sheets: tuple[Sheet, ...]
    rows: tuple[int, ...]
    targets: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def tokens(self) -> int:
        """How many tokens are read."""
        return sum(sheet.tokens for sheet in self.sheets)


class Encoder:
    """Reads examples with the vocabulary and the chat format of a model.

    Args:
        path: A GGUF file.

    Raises:
        ModelInvalid: It can't be read.
    """

    def __init__(self, path: Path) -> None:
        from llmos.engine.chat import ChatFormat
        from llmos.engine.gguf import read_header
        from llmos.engine.llama.binding import Model
        from llmos.engine.llama.prompt import Prompts

        header = read_header(path)
        self._model = Model(path, repack=False)
        special = {piece.decode("utf-8", "replace"): token for token, piece in self._model.controls.items()}
        chat = ChatFormat.from_template(header.chat_template, bos=header.bos, eos=header.eos, special=special)
        self._prompts = Prompts(self._model, chat, header.fingerprint)
        self.fingerprint = header.fingerprint
        ends = [special[text] for text in chat.stop if text in special]  # the one that the template writes is the first
        self.end = ends[0] if ends else self._model.eos

    def encode(self, example: Example) -> Encoded:
        """The ids of an example. One of raw text (`Context.text`) learns its answer as it stands, without an end.

        Raises:
            BadArguments: The answer is empty.
        """
        answer = self._prompts.encode_plain(example.answer)
        if not answer:
            raise BadArguments(f"An example of {example.job!r} has no answer.")
        if example.context.text is None:
            return Encoded(tuple(self._prompts.tokens(example.context)), (*answer, self.end))
        known = self._prompts.tokens(example.context) if example.context.text else []
        whole = (*known, *answer)
        return Encoded(whole[: max(len(known), 1)], whole[max(len(known), 1) :])

    def close(self) -> None:
        """Free the vocabulary."""
        self._model.close()


def pack(groups: Sequence[Sequence[Encoded]]) -> Packed:
    """Put groups of examples together; those of a group share the beginning that they have in common."""
    from llmos.learn.model import Sheet

    sheets: list[Sheet] = []
    rows: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    start = 0
    for group in groups:
        columns = zip(*(one.prompt for one in group), strict=False)
        common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
        parts = [group] if common else [[one] for one in group]
        for part in parts:
            begins = max(min(common or len(part[0].prompt), *(len(one.prompt) - 1 for one in part)), 1)
            at = start + begins
            for one in part:
                first = len(one.prompt) - begins  # of the answer, in the branch
                for offset, token in enumerate(one.answer):
                    rows.append(at + first + offset - 1 if first + offset else start + begins - 1)
                    targets.append(token)
                    weights.append(len(one.answer) ** -0.75)
                at += first + len(one.answer) - 1
            branches = [(*one.prompt, *one.answer)[begins:-1] for one in part]
            sheets.append(Sheet(part[0].prompt[:begins], branches))
            start = at
    return Packed(tuple(sheets), tuple(rows), tuple(targets), tuple(weights))
