"""Work that is checked and done again with the check's reasons, and never passed off as checked if it is not."""

import asyncio

from llmos import Kernel
from llmos.agents.sync import verify_and_retry
from llmos.agents.verdict import Verdict, Verifier


def short_and_plain(text: str) -> Verdict:
    """Says what is wrong, for the next attempt."""
    wrong = ["Use at most 8 words."] if len(text.split()) > 8 else []
    wrong += ["Leave out the exclamation marks."] if "!" in text else []
    return Verdict("fail", tuple(wrong)) if wrong else Verdict("pass")


async def main(kernel: Kernel) -> str:
    """The example itself."""

    async def slogan(reasons: tuple[str, ...]) -> str:
        answer = await kernel.run("Write a slogan for a bakery. " + " ".join(reasons))
        return answer.text

    done = await verify_and_retry(slogan, Verifier(short_and_plain), attempts=3)
    for attempt in done.attempts:
        print(attempt.verdict.outcome, attempt.value, *attempt.verdict.reasons)
    return done.value if done.verified and done.value else "nothing that passed"


if __name__ == "__main__":
    with Kernel() as local:
        asyncio.run(main(local))
