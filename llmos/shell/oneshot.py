"""`llmos run` without tools: one answer of the model on stdout, everything else on stderr.

Knows no terminal library.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

from llmos.boot import Kernel, confidence_of
from llmos.config import Settings
from llmos.engine.decoding import best_of_n, shares_of_choices
from llmos.errors import LlmosError
from llmos.events import Event, Finished, Notice, Started, Token
from llmos.kernel.protocols import Engine
from llmos.messages import Constraint, Context, Generate, Message
from llmos.portal import closing
from llmos.shell import jsonl, waiting
from llmos.shell.attach import Attached, attach
from llmos.shell.screen import PlainAnswer
from llmos.shell.session import LOW_CONFIDENCE
from llmos.shell.text import harmless, joined

_STDIN_SECONDS = 3.0
_LISTED = 5


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
    return joined(words, piped())


def piped() -> str:
    """What is piped in; empty on a terminal.

    Raises:
        LlmosError: The input is not text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    notice = threading.Timer(_STDIN_SECONDS, _say_that_it_waits)
    notice.daemon = True
    notice.start()
    try:
        return sys.stdin.buffer.read().decode("utf-8").strip("\n")
    except UnicodeDecodeError as error:
        raise LlmosError("The input is not UTF-8 text.", hint="Convert it first, with iconv for example.") from error
    finally:
        notice.cancel()


def attached(words: str) -> Attached:
    """The files that the words name with `@`; of those that are not there it is said.

    Raises:
        StorageError: A file is too big, is not text, or can't be read.
    """
    found = attach(words)
    for name in found.missing:
        waiting.say(f"no file {harmless(name)!r} here: sent as it is written")
    return found


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
        engine = await waiting.loaded(kernel, notice=_write_notice if task.json else waiting.say)
        events = _best(engine, request, task.best_of) if task.best_of > 1 else engine.generate(request)
        if task.json:
            await _write_events(events, engine, request)
        else:
            await _write_text(events if task.best_of > 1 else _awaited(events), engine, request)


async def _best(engine: Engine, request: Generate, n: int) -> AsyncIterator[Event]:
    doing = ""

    def progress(complete: int, tokens: int) -> None:
        nonlocal doing
        doing = f" · {complete} of {n} complete · {tokens:,} tokens"

    async with waiting.shown(lambda: f"{n} answers at once{doing}"):
        answers = await best_of_n(engine, request, n, progress=progress)
    for place, answer in enumerate(answers, 1):
        confidence = confidence_of(answer.logprob, request.constraint)
        known = "" if confidence is None else f"confidence {confidence:.2f}, "
        words = " ".join(answer.message.content.split())
        yield Notice(text=f"{place}. {known}seed {answer.seed}: {words[:100]}")
    yield answers[0]


async def _write_text(events: AsyncIterator[Event], engine: Engine, request: Generate) -> None:
    streamed = False
    async with PlainAnswer(sys.stdout) as out, closing(events) as stream:
        async for event in stream:
            out.event(event)
            streamed = streamed or (isinstance(event, Token) and event.channel == "answer")
            if isinstance(event, Notice):
                waiting.say(harmless(event.text))
            elif isinstance(event, Finished):
                if not streamed:
                    out.write(event.message.content)
                out.end()
                _remark(event, request, await shares_of_choices(engine, request))


async def _awaited(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """The same events; until the answer begins a terminal shows that something is going on."""
    begun: list[Event] = []

    def doing() -> str:
        return "thinking" if begun and isinstance(begun[-1], Token) else "reading"

    async with closing(events) as stream:
        async with waiting.shown(doing):
            async for event in stream:
                begun.append(event)
                if not isinstance(event, Started) and not (isinstance(event, Token) and event.channel != "answer"):
                    break
        for event in begun:
            yield event
        async for event in stream:
            yield event


def _remark(finished: Finished, request: Generate, shares: Mapping[str, float]) -> None:
    if finished.reason in ("length", "context"):
        limit = "max_tokens" if finished.reason == "length" else "the context is full"
        waiting.say(f"cut after {finished.usage.generated_tokens:,} tokens ({limit})")
    if shares:
        waiting.say(harmless(_ranked(shares)))
    confidence = confidence_of(finished.logprob, request.constraint)
    if confidence is not None and confidence < LOW_CONFIDENCE:
        waiting.say(f"low confidence {confidence:.2f}")


def _ranked(shares: Mapping[str, float]) -> str:
    likeliest = sorted(shares.items(), key=lambda item: item[1], reverse=True)[:_LISTED]
    parts = [f"{choice} {share:.0%}" for choice, share in likeliest]
    if len(shares) > _LISTED:
        parts.append(f"all others {max(0.0, 1 - sum(share for _, share in likeliest)):.0%}")
    return " · ".join(parts)


def _write_notice(text: str) -> None:
    print(jsonl.event_line(Notice(text=text)), flush=True)


@dataclass(slots=True)
class _Partial:
    """What an interrupted answer came to."""

    request: str
    text: list[str] = field(default_factory=list[str])

    def finished(self) -> Finished:
        message = Message("assistant", "".join(self.text))
        return Finished(request=self.request, reason="cancelled", message=message, context=Context())


async def _write_events(events: AsyncIterator[Event], engine: Engine, request: Generate) -> None:
    partial = _Partial(request.id)
    try:
        async with closing(events) as stream:
            async for event in stream:
                if isinstance(event, Token) and event.channel == "answer":
                    partial.text.append(event.text)
                if isinstance(event, Finished):
                    shares = await shares_of_choices(engine, request)
                    print(jsonl.finished_line(event, request.constraint, shares), flush=True)
                else:
                    print(jsonl.event_line(event), flush=True)
    except asyncio.CancelledError:
        print(jsonl.finished_line(partial.finished()), flush=True)
        raise
