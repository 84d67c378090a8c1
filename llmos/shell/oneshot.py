"""`llmos run`: one question, the answer on stdout, everything else on stderr. Knows no terminal library."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from llmos.boot import Kernel
from llmos.config import Settings
from llmos.engine.decoding import best_of_n
from llmos.errors import LlmosError
from llmos.events import Event, Finished, Notice, Token
from llmos.kernel.protocols import Engine
from llmos.messages import Constraint, Context, Generate, Message
from llmos.portal import closing
from llmos.shell import jsonl
from llmos.shell.screen import PlainAnswer
from llmos.shell.session import LOW_CONFIDENCE
from llmos.shell.text import harmless

_STDIN_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What `llmos run` was asked to do.

    Attributes:
        json: Write events as JSON lines instead of the answer's text.
        beams: Beam search with so many hypotheses, if more than 1.
        best_of: Sample so many answers and give the likeliest, if more than 1.
    """

    prompt: str
    json: bool = False
    constraint: Constraint | None = None
    beams: int = 1
    best_of: int = 1


def prompt_with_input(words: str) -> str:
    """The prompt, with what is piped in below it.

    Raises:
        LlmosError: The input is not text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return words
    notice = threading.Timer(_STDIN_SECONDS, _say_that_it_waits)
    notice.daemon = True
    notice.start()
    try:
        piped = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise LlmosError("The input is not UTF-8 text.", hint="Convert it first, with iconv for example.") from error
    finally:
        notice.cancel()
    return "\n\n".join(part for part in (words, piped.strip("\n")) if part.strip())


def _say_that_it_waits() -> None:
    print("waiting for the end of the input (< /dev/null for none)", file=sys.stderr, flush=True)


def run_once(task: Task, settings: Settings) -> int:
    """Answer once.

    Returns:
        Exit code 0.

    Raises:
        LlmosError: The model can't be loaded, or the request failed.
        KeyboardInterrupt: Ctrl-C; what was said until then is written.
    """
    try:
        asyncio.run(_run(task, settings))
    except LlmosError as error:
        if task.json:
            print(jsonl.error_line(error), flush=True)
        raise
    return 0


async def _run(task: Task, settings: Settings) -> None:
    async with Kernel(settings=settings) as kernel:
        request = replace(kernel.request(task.prompt, constraint=task.constraint), beams=task.beams)
        engine = await kernel.engine()
        events = _best(engine, request, task.best_of) if task.best_of > 1 else engine.generate(request)
        await (_write_events(events, request) if task.json else _write_text(events))


async def _best(engine: Engine, request: Generate, n: int) -> AsyncIterator[Event]:
    answers = await best_of_n(engine, request, n)
    for place, answer in enumerate(answers, 1):
        confidence = "unknown" if math.isnan(answer.logprob) else f"{math.exp(answer.logprob):.2f}"
        words = " ".join(answer.message.content.split())
        yield Notice(text=f"{place}. confidence {confidence}, seed {answer.seed}: {words[:100]}")
    yield answers[0]


async def _write_text(events: AsyncIterator[Event]) -> None:
    streamed = False
    async with PlainAnswer(sys.stdout) as out, closing(events) as stream:
        async for event in stream:
            out.event(event)
            streamed = streamed or (isinstance(event, Token) and event.channel == "answer")
            if isinstance(event, Notice):
                print(harmless(event.text), file=sys.stderr, flush=True)
            elif isinstance(event, Finished):
                if not streamed:
                    out.write(event.message.content)
                _remark(event)


def _remark(finished: Finished) -> None:
    if finished.reason in ("length", "context"):
        limit = "max_tokens" if finished.reason == "length" else "the context is full"
        print(f"cut after {finished.usage.generated_tokens:,} tokens ({limit})", file=sys.stderr)
    if math.exp(finished.logprob) < LOW_CONFIDENCE:
        print(f"low confidence {math.exp(finished.logprob):.2f}", file=sys.stderr)


@dataclass(slots=True)
class _Partial:
    """What an interrupted answer came to."""

    request: str
    text: list[str] = field(default_factory=list[str])

    def finished(self) -> Finished:
        message = Message("assistant", "".join(self.text))
        return Finished(request=self.request, reason="cancelled", message=message, context=Context())


async def _write_events(events: AsyncIterator[Event], request: Generate) -> None:
    partial = _Partial(request.id)
    try:
        async with closing(events) as stream:
            async for event in stream:
                if isinstance(event, Token) and event.channel == "answer":
                    partial.text.append(event.text)
                print(jsonl.event_line(event), flush=True)
    except asyncio.CancelledError:
        print(jsonl.event_line(partial.finished()), flush=True)
        raise
