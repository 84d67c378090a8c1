"""Ask the embedded model all questions of `llmos/learn/data/facts.toml`, and write down which it answers rightly.

    python scripts/label_facts.py

Each question is asked twice, in different words, as the default agent asks. Writes
`llmos/learn/data/facts_known.json`; training takes a question as known if both answers were right.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from llmos.agents.prompts import prompts
from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.events import Finished
from llmos.kernel.protocols import Engine
from llmos.learn.data.facts import KNOWN, Fact, facts, right
from llmos.messages import Context, Generate, Sampling

AT_ONCE = 16
MAX_TOKENS = 40
SAMPLING = Sampling(temperature=0.0, repeat_penalty=1.1, seed=0)


async def said(engine: Engine, question: str) -> str:
    """What the model answers."""
    context = Context.chat(question, system=prompts().chat)
    async for event in engine.generate(Generate(context=context, sampling=SAMPLING, max_tokens=MAX_TOKENS)):
        if isinstance(event, Finished):
            return event.message.content
    raise AssertionError("an engine's stream ends with how it went")


def wordings(fact: Fact) -> tuple[str, str]:
    """Two ways to ask: the plain one, and another that differs from question to question."""
    others = fact.asked[1:]
    return fact.asked[0], others[sum(fact.key.encode()) % len(others)]


async def label(log: Path | None) -> None:
    """Ask everything, and write how often the answers were right."""
    engine = await open_engine(None, EngineOptions())
    places = asyncio.Semaphore(AT_ONCE)
    spoken: list[str] = []

    async def times(fact: Fact) -> int:
        count = 0
        async with places:
            for question in wordings(fact):
                answer = await said(engine, question)
                good = right(fact, answer)
                spoken.append(f"{good:d} {question} -> {' '.join(answer.split())}")
                count += good
        return count

    try:
        counts = await asyncio.gather(*(times(fact) for fact in facts()))
        name = engine.info.name
    finally:
        await engine.close()
    found = {fact.key: count for fact, count in zip(facts(), counts, strict=True)}
    KNOWN.write_text(json.dumps({"model": name, "right": found}, ensure_ascii=False, indent=0) + "\n", "utf-8")
    if log is not None:
        log.write_text("\n".join(spoken) + "\n", "utf-8")
    print(f"{counts.count(2)} of {len(counts)} known, {counts.count(1)} right once")


if __name__ == "__main__":
    asyncio.run(label(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
