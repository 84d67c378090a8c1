"""What a conversation has in its context besides the user's words, with label and source, so that the policy knows it.

Knows no terminal and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from llmos.kernel.calls import Label, Observed, join

_CHARACTERS = 200_000
_PIECES = 200


def piped(text: str) -> Observed:
    """What was piped in: nobody knows where it comes from."""
    return Observed("standard input", {}, text, "outside")


def attached(text: str) -> Observed:
    """Files that the user attached."""
    return Observed("attached", {}, text, "files")


def after_turn(seen: Sequence[Observed], words: str, answer: str) -> tuple[Observed, ...]:
    """What was seen when a turn is over: its words and its answer, which may hold anything that came before it, too.

    Words of an earlier turn authorize nothing in a later one.
    """
    labels: list[Label] = [one.label for one in seen]
    label = join(*labels)
    said = (Observed("earlier request", {}, words, "user"), Observed("earlier answer", {}, answer, label))
    return bounded((*seen, *said))


def joined(before: Sequence[Observed], more: Sequence[Observed]) -> tuple[Observed, ...]:
    """Both, without what `more` begins with from `before`, or repeats of it."""
    if tuple(more[: len(before)]) == tuple(before):
        return tuple(more)
    return (*before, *(one for one in more if one not in before))


def bounded(seen: Iterable[Observed]) -> tuple[Observed, ...]:
    """The newest pieces whole; of older ones only that there were some of each source and label."""
    kept: list[Observed] = []
    older: dict[tuple[str, str, str], Observed] = {}
    left = _CHARACTERS
    for one in reversed(tuple(seen)):
        left -= len(one.value) if isinstance(one.value, str) else len(str(one.value))
        if len(kept) < _PIECES and (left >= 0 or not kept):
            kept.append(one)
        else:
            older.setdefault((one.tool, one.label, one.effect), replace(one, arguments={}, value=""))
    return (*reversed(older.values()), *reversed(kept))
