"""Paging of the context window, measured: a pinned document after a restart, mapped in against prefilled."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import Row
from bench.rig import WORDS, collect, engine, prose, run, text
from llmos.engine.llama.engine import LlamaEngine, LlamaOptions
from llmos.kernel.paging_hot import HotPages
from llmos.messages import GREEDY, Context, Generate, Message

_TOKENS = 4096
_REPEATS = 3
_OPTIONS = LlamaOptions(context=6144, cells=6144, slots=2)


def pinned_document() -> list[Row]:
    """The first token of an answer about a 4k-token document, by an engine that has just been started."""
    with TemporaryDirectory(prefix="llmos-hot-") as name:
        folder = Path(name)
        messages = _document()
        with engine(options=_OPTIONS) as first:  # an earlier life, which keeps the document
            run(HotPages(folder, first).prefix(messages))
        mapped: list[float] = []
        read: list[float] = []
        tokens = 0
        for number in range(_REPEATS):
            with engine(options=_OPTIONS) as ours:
                seconds, tokens = _first_token(ours, HotPages(folder, ours), messages, number)
                mapped.append(seconds)
            with engine(options=_OPTIONS) as peer:
                seconds, _ = _first_token(peer, None, messages, number)
                read.append(seconds)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return [
        Row(
            name="4k-token pinned document: first token after a restart, mapped in",
            value=statistics.median(mapped),
            unit="s",
            peer="prefilled",
            peer_value=statistics.median(read),
            ratio=statistics.median(ours / theirs for ours, theirs in zip(mapped, read, strict=True)),
            goal="≤ 0.02",
            note=f"{tokens:,} tokens, of which the file of {size:,.0f} MB has all but the question",
        )
    ]


def _document() -> tuple[Message, ...]:
    """About `_TOKENS` tokens, of which no two sentences are the same."""
    sentences = [f"Chapter {number}: {prose(12, salt=number)}." for number in range(_TOKENS // 22)]
    return (Message("system", "Answer from the document."), Message("user", f"{' '.join(sentences)} {WORDS[0]}"))


def _first_token(
    opened: LlamaEngine, hot: HotPages | None, messages: tuple[Message, ...], number: int
) -> tuple[float, int]:
    """Seconds from the question to its first token, and the length of the prompt."""
    run(collect(opened, text("warm up", 2)))
    start = time.perf_counter()
    context = run(hot.prefix(messages)) if hot is not None else Context(messages=messages)
    question = context.add(Message("user", f"What does chapter {number + 7} say?"))
    done = run(collect(opened, Generate(context=question, max_tokens=1, sampling=GREEDY)))
    return time.perf_counter() - start, done.finished.usage.prompt_tokens


GROUPS = (pinned_document,)
