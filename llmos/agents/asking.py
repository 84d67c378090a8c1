"""Lets the model choose among a few names, in a context of its own that leaves no trace in the conversation.

Knows no tool and no agent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmos.kernel.process import Process
from llmos.messages import Context, Message

_LEAST = 1e-6
_ROUNDS = 2


async def shares_of(
    process: Process, context: Context, prompt: str, choices: Sequence[str], *, baseline: str | None = None
) -> list[float]:
    """How likely each choice is as the model's answer; all or nothing where the engine does not tell.

    Args:
        baseline: A prompt without content, by which the model's bias for a name is taken out.
    """
    thought = await process.aside(context).think(prompt, choices=choices, baseline=baseline)
    if thought.probabilities:
        return list(thought.probabilities)
    return [float(choice == thought.value) for choice in choices]


def logs_of(shares: Sequence[float]) -> list[float]:
    """Natural logarithms of shares, none without bound."""
    return [math.log(max(share, _LEAST)) for share in shares]


def few_shot(system: str, examples: Sequence[tuple[str, Sequence[str]]]) -> Context:
    """A context in which names were the answers to requests: two of each, in turn, since the last one counts most.

    Args:
        examples: Names, with requests that each of them answers.
    """
    context = Context(messages=(Message("system", system),))
    for number in range(_ROUNDS):
        for name, requests in examples:
            for request in requests[number : number + 1]:
                context = context.add(Message("user", request), Message("assistant", name))
    return context
