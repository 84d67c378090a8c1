"""A verifier that asks the user. Knows no model and no terminal."""

from __future__ import annotations

from typing import Any

from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.verifiers.common import brief, text_of, unsure_if_refused
from llmos.kernel.branch import Branch

MAX_SHOWN = 4_000
"""Characters of the value that are shown."""

_YES = frozenset({"y", "yes", "yes.", "ok", "okay", "right", "correct", "good", "true"})
_NO = frozenset({"n", "no", "no.", "wrong", "bad", "false", "not ok"})


def human(process: Branch, question: str = "Is this right?") -> Verifier[Any]:
    """The user says whether it is right; other words than yes or no are the reason why not.

    An empty answer, and nobody there, can't tell.
    """

    @unsure_if_refused
    async def check(value: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        text = text_of(value)
        more = len(text) - MAX_SHOWN
        shown = text if more <= 0 else f"{text[:MAX_SHOWN]}\n… {more:,} characters more"
        said = (await process.ask(f"{shown}\n\n{question} (yes, no, or what is wrong with it)")).strip()
        match said.casefold():
            case "":
                return Verdict("unsure", ("The user did not say.",))
            case word if word in _YES:
                return Verdict("pass")
            case word if word in _NO:
                return Verdict("fail", (f"The user said no to: {brief(question)}",))
            case _:
                return Verdict("fail", (f"The user says: {brief(said)}",))

    return Verifier(check, name="human")
