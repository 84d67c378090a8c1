"""One chat: the conversation, the kernel that answers, and what it cost. Knows no terminal.

Every turn is saved. A turn that fails changes nothing; one that is stopped keeps what was said until then.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmos.boot import Kernel, confidence_of
from llmos.config import Settings
from llmos.errors import Interrupted, LlmosError, StorageError
from llmos.events import CallEnded, CallStarted, Event, Finished, FinishReason, Started, Token, Usage
from llmos.kernel import paging
from llmos.kernel.calls import Label, Observed, join
from llmos.kernel.task import unlabelled
from llmos.messages import GREEDY, Context, JsonSchema, Message
from llmos.portal import closing
from llmos.runs import Parts, Running
from llmos.shell import conversations, sources, titling
from llmos.shell.approver import Terminal
from llmos.shell.calls import cost_of, follow, one_line, result_text, work_line
from llmos.shell.conversations import Conversation
from llmos.shell.idle import Idle
from llmos.shell.knowing import Knowing, chat_name
from llmos.shell.text import harmless, joined

LOW_CONFIDENCE = 0.5
_CANCELLED: FinishReason = "cancelled"
_FACTS = 256  # tokens of the facts that are found in what was said
_SMALL = 2048  # tokens that every window has: a conversation below that needs no look at its pages

Show = Callable[[Event], None]
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question and what came of it.

    Attributes:
        attached: Files and other material that came with the words.
        before: The context without this turn, so that it can be taken back; `seen_before` is what was seen until then.
        pid: The run that worked on it; empty for an answer of the model alone.
        confidence: Geometric mean probability of the answer's tokens; None where unknown.
    """

    words: str
    text: str
    before: Context
    reason: FinishReason
    confidence: float | None
    usage: Usage
    attached: str = ""
    pid: str = ""
    seen_before: tuple[Observed, ...] = ()


@dataclass(slots=True)
class _Progress:
    """What one answer has come to so far."""

    begun: float = field(default_factory=time.monotonic)
    prompt_tokens: int = 0
    reused_tokens: int = 0
    first_token: float = 0.0
    last_token: float = 0.0
    tokens: int = 0
    answer: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    logprobs: list[float] = field(default_factory=list[float])
    finished: Finished | None = None
    running: Running | None = None
    doing: str = "reading"
    result: str | None = None
    fitted: paging.Fitted | None = None

    def take(self, event: Event) -> None:
        if isinstance(event, Started):
            self.prompt_tokens, self.reused_tokens = event.prompt_tokens, event.reused_tokens
        elif isinstance(event, Token):
            self.last_token = time.monotonic()
            self.first_token = self.first_token or self.last_token
            self.tokens += 1
            if event.channel == "answer":
                self.answer.append(event.text)
                self.logprobs.append(event.logprob)
            elif event.channel == "reasoning":
                self.reasoning.append(event.text)
        elif isinstance(event, Finished):
            self.finished = event

    def follow(self, event: object) -> None:
        """Take an event of a run."""
        if isinstance(event, CallStarted):
            self.doing = "thinking" if event.call == "think" else one_line(event.title, 60) or event.call
            self.answer.clear()
        elif isinstance(event, Token):
            self.take(event)

    def message(self) -> Message:
        return Message("assistant", "".join(self.answer), reasoning="".join(self.reasoning))

    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens,
            reused_tokens=self.reused_tokens,
            generated_tokens=self.tokens,
            first_token_seconds=max(0.0, self.first_token - self.begun),
            seconds=time.monotonic() - self.begun,
        )

    def speed(self) -> float:
        passed = self.last_token - self.first_token
        return (self.tokens - 1) / passed if self.tokens > 1 and passed > 0 else 0.0


@dataclass(slots=True)
class Totals:
    """What this session has cost so far. Tokens are counts, times seconds."""

    turns: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0

    def add(self, usage: Usage) -> None:
        """Count one more turn."""
        self.turns += 1
        self.prompt_tokens += usage.prompt_tokens
        self.reused_tokens += usage.reused_tokens
        self.generated_tokens += usage.generated_tokens
        self.seconds += usage.seconds


class Session:
    """A conversation with a kernel.

    Attributes:
        settings: What the kernel was started with.
        kernel: It; replaced by `use_model`.
        context: The conversation so far, all of it.
        pages: Which parts of it are in the window of the model.
        tools: Whether questions are worked on by an agent with tools, or answered by the model alone.
        approver: Asks the user about effects, while somebody is attached to it.
        last_pid: The run that worked last; empty before there was one.
        turns: The turns of this session, oldest first; those of a resumed conversation are not among them.
        seen: What the context holds besides the user's words, with label and source, for the policy.
        totals: What they cost together.
        knowing: What is known of the user, and stands in every context.
        idle: What is done while nothing is asked.
        warnings: Called with what a person should know although it stops nothing, such as a full disk.
    """

    def __init__(self, settings: Settings, *, warnings: Callable[[str], None]) -> None:
        self.settings = settings
        self.tools = settings.tools
        self.knowing = Knowing(settings.memory, warnings)
        self.idle = Idle(self.knowing, self._find if settings.memory.extract else None, self._head)
        self._system = settings.system
        self.approver = Terminal()
        self.last_pid = ""
        self.kernel = self._opened(settings)
        self.context = self._fresh()
        self.pages = paging.Pages()
        self.seen: tuple[Observed, ...] = ()
        self.turns: list[Turn] = []
        self.totals = Totals()
        self.warnings = warnings
        self.conversation: Conversation | None = None
        self._progress: _Progress | None = None
        self._task: asyncio.Task[None] | None = None
        self._signals: set[asyncio.Task[None]] = set()
        self._stopped = 0
        self._save_failed = False
        self._tokens_used = 0

    @property
    def running(self) -> Running | None:
        """The run that works on the question, if there is one."""
        return self._progress.running if self.busy and self._progress is not None else None

    @property
    def doing(self) -> str:
        """What that run is doing, in a line: the cost, the call, the end of what is being written."""
        progress = self._progress
        if progress is None or progress.running is None:
            return ""
        tail = harmless(" ".join("".join(progress.answer).split())[-40:])
        cost = cost_of(progress.running, time.monotonic() - progress.begun)
        return f"{progress.doing} · {cost}" + (f" · …{tail}" if tail else "")

    @property
    def busy(self) -> bool:
        """Whether an answer is being made."""
        return self._task is not None

    @property
    def generating(self) -> int:
        """Tokens of the answer that is being made; 0 without one."""
        return self._progress.tokens if self._progress is not None else 0

    @property
    def tokens_per_second(self) -> float:
        """Speed of the answer that is being made, or of the last one; 0 where unknown. The wait for the first token is
        not part of it."""
        return self._progress.speed() if self._progress is not None else 0.0

    @property
    def tokens_used(self) -> int:
        """Tokens of the conversation as the engine last counted them; 0 where it has not seen it."""
        progress = self._progress
        return progress.prompt_tokens + progress.tokens if self.busy and progress is not None else self._tokens_used

    @property
    def confidence(self) -> float | None:
        """That of the last answer."""
        return self.turns[-1].confidence if self.turns and not self.busy else None

    async def ask(self, words: str, show: Show, *, attached: str = "", note: Note = lambda text: None) -> Turn:
        """Answer the user's words and save the conversation.

        Args:
            words: The user's own words; with tools, what may be done is decided by them alone.
            show: Called with every event of an answer as it comes; with tools, with the answer when it is complete.
            attached: Files and other material that came with the words.
            note: Called with a line for each tool call, and for what leaves the window or comes back.

        Raises:
            LlmosError: The model can't be loaded, or the request failed; the conversation is as it was.
        """
        self.idle.end()
        progress = _Progress()
        if self.tools:
            work = self._work(words, attached, progress, show, note)
        else:
            work = self._stream(joined(words, attached), progress, show, note)
        task = asyncio.create_task(work)
        self._progress, self._task, self._stopped = progress, task, 0
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            self._record(words, attached, progress)
            raise
        finally:
            self._task = None
        if not task.cancelled():
            task.result()
        turn = self._record(words, attached, progress)
        self.idle.begin(words, self.named(words))
        return turn

    def stop(self) -> None:
        """Stop the answer that is being made; `ask` then returns what there is. A run is interrupted, and killed the
        second time; it can be resumed."""
        if self._task is None:
            return
        self._stopped += 1
        running = self.running
        if running is None:
            self._task.cancel()
            return
        sending = asyncio.ensure_future(running.signal("interrupt" if self._stopped == 1 else "kill"))
        self._signals.add(sending)
        sending.add_done_callback(self._signals.discard)

    def undo(self) -> Turn | None:
        """Take back the last turn; None if there is none in this session."""
        if not self.turns:
            return None
        turn = self.turns.pop()
        self.context, self.seen = turn.before, turn.seen_before
        self.pages.table = self.pages.table.of(self.context.messages)
        self._tokens_used = 0
        self.save()
        return turn

    def clear(self) -> None:
        """Begin a new conversation. The old one stays saved."""
        self.context, self.seen, self.pages = self._fresh(), (), paging.Pages()
        self.conversation = None
        self.turns.clear()
        self._tokens_used = 0

    def set_system(self, text: str) -> None:
        """Another system prompt, from the next turn on."""
        self.settings = replace(self.settings, system=text)
        self._system = text
        self.context = _with_system(self.context, text)
        self.turns = [replace(turn, before=_with_system(turn.before, text)) for turn in self.turns]

    def resume(self, conversation: Conversation) -> None:
        """Go on with a saved conversation."""
        self.conversation = conversation
        self.context = Context(messages=conversation.messages)
        self._system = next((one.content for one in conversation.messages if one.role == "system"), "")
        self.pages = paging.Pages(conversation.pages)
        self.seen = unlabelled(self.context) if conversation.seen is None else conversation.seen
        self.turns.clear()
        self._tokens_used = 0

    def save(self, *, title: str | None = None) -> bool:
        """Save the conversation now, under another title if one is given. A failure is a warning, the first time.

        Returns:
            Whether it is saved.
        """
        first = next((message.content for message in self.context.messages if message.role == "user"), "")
        kept = self.conversation or conversations.begin(first)
        info = self.kernel.info
        kept = replace(
            kept,
            messages=_with_system(self.context, self._system).messages,  # what is known of the user is not saved here
            pages=self.pages.table.of(self.context.messages),
            seen=self.seen,
            title=kept.title if title is None else title,
            model=info.name if info is not None else kept.model,
        )
        try:
            self.conversation = conversations.save(kept)
        except StorageError as error:
            if not self._save_failed:
                self.warnings(f"This conversation is not saved. {error}")
            self._save_failed = True
            return False
        self._save_failed = False
        return True

    async def use_model(self, spec: str | None) -> None:
        """Change the model. The old one is closed first, as both may not fit into memory; it comes back on failure.

        Raises:
            LlmosError: The new model can't be loaded.
        """
        await self.kernel.close()
        before, self.settings = self.settings, replace(self.settings, model=spec)
        self.kernel = self._opened(self.settings)
        try:
            await self.kernel.engine()
        except LlmosError:
            await self.kernel.close()
            self.settings = before
            self.kernel = self._opened(before)
            self.kernel.start()
            raise
        self._tokens_used = 0

    async def close(self) -> None:
        """Stop and free the model."""
        self.idle.end()
        self.stop()
        await self.kernel.close()
        await asyncio.to_thread(self.knowing.close)

    def named(self, words: str) -> str:
        """What this conversation is called as a source.

        Args:
            words: What its file is named after if it has none yet.
        """
        self.conversation = self.conversation or conversations.begin(words)
        return chat_name(self.conversation.path.stem)

    def noted(self, words: str, answer: str) -> None:
        """Take words that were answered without a model into the conversation, and save it."""
        turn = Turn(
            words=words,
            text=answer,
            before=self.context,
            reason="stop",
            confidence=None,
            usage=Usage(),
            seen_before=self.seen,
        )
        self.context = self.context.add(Message("user", words), Message("assistant", answer))
        self.seen = sources.after_turn(self.seen, words, answer)
        self.turns.append(turn)
        self.save()

    async def _find(self, prompt: str, schema: Mapping[str, Any]) -> str:
        """What the model answers under a schema, when nobody else needs it."""
        answer = await self.kernel.run(
            prompt,
            context=Context(),
            constraint=JsonSchema(schema),
            sampling=GREEDY,
            max_tokens=_FACTS,
            priority="background",
        )
        return answer.text

    async def _head(self) -> None:
        """Have the conversation called what it is about."""
        kept = self.conversation
        headed = None if kept is None else await titling.headed(self.kernel, kept)
        if headed is not None and self.conversation is kept:
            self.conversation = conversations.save(headed)

    async def _know(self, words: str) -> None:
        """Have what is known of the user in the system prompt."""
        system = await asyncio.to_thread(self.knowing.system, self._system, words)
        if system != next((one.content for one in self.context.messages if one.role == "system"), ""):
            self.context = _with_system(self.context, system)

    def _fresh(self) -> Context:
        self._system = self.settings.system
        return Context(messages=(Message("system", self.settings.system),)) if self.settings.system else Context()

    def _opened(self, settings: Settings) -> Kernel:
        return Kernel(settings=settings, parts=Parts(approver=self.approver, store=self.knowing.memory))

    async def go_on(self, run: str, show: Show, *, note: Note = lambda text: None) -> Turn:
        """Go on with a run that was interrupted, as a turn of this conversation.

        Raises:
            NoSuchProcess: There is no such run, it is over, or it is running.
            LlmosError: It failed.
        """
        progress = _Progress()

        async def work() -> None:
            await self._follow(await self.kernel.resume(run), progress, show, note)

        task = asyncio.create_task(work())
        self._progress, self._task, self._stopped = progress, task, 0
        try:
            await asyncio.wait({task})
        finally:
            self._task = None
        if not task.cancelled():
            task.result()
        return self._record(f"(run {run} went on)", "", progress)

    async def _work(self, words: str, attached: str, progress: _Progress, show: Show, note: Note) -> None:
        """Have an agent work on it."""
        from llmos.shell.working import agent_named

        await self._know(words)
        context = await self._fitted(joined(words, attached), progress, note)
        brought = progress.fitted.seen if progress.fitted is not None else ()
        context = context.add(Message("user", attached)) if attached else context
        running = await self.kernel.spawn(
            agent_named(""),
            words,
            words=(words,),
            seen=sources.joined(self._seen_with(attached), brought),
            level=self.settings.level,
            context=context if context.messages else None,
        )
        await self._follow(running, progress, show, note)

    def _seen_with(self, attached: str) -> tuple[Observed, ...]:
        known = [] if self.knowing.label == "user" else [Observed("profile", {}, "", self.knowing.label)]
        return (*self.seen, *known, *([sources.attached(attached)] if attached else []))

    async def _follow(self, running: Running, progress: _Progress, show: Show, note: Note) -> None:
        progress.running, self.last_pid = running, running.pid
        if self._stopped:
            await running.signal("interrupt")
        async for event in follow(running):
            progress.follow(event)
            if isinstance(event, CallEnded) and event.call == "act":
                note(work_line(event, cost_of(running, time.monotonic() - progress.begun)))
        try:
            progress.result = result_text(await running.result())
        except Interrupted:
            if not self._stopped:
                raise
            return
        show(Token(request="", index=0, token=-1, text=progress.result, logprob=math.nan, seconds=0.0))

    async def _fitted(self, message: str, progress: _Progress, note: Note) -> Context:
        """The conversation as far as it fits beside a message, with what that needs of what was left out."""
        whole = self.context.add(Message("user", message))
        if self.tools and self.kernel.info is None and paging.surely_fits(whole, _SMALL):
            return self.context  # an agent may need no model: it is not waited for
        engine = await self.kernel.engine()
        labels: list[Label] = [one.label for one in self.seen]
        fitted = await self.pages.fit(
            engine,
            whole,
            reserve=paging.reserved(engine.info.context, self.settings.max_tokens),
            fresh=len(self.context.messages),
            label=join(*labels),
        )
        progress.fitted = fitted
        for line in paging.told(fitted):
            note(f"  {line}")
        return replace(fitted.view, messages=fitted.view.messages[:-1])

    async def _stream(self, words: str, progress: _Progress, show: Show, note: Note) -> None:
        await self._know(words)
        context = await self._fitted(words, progress, note)
        async with closing(self.kernel.run_stream(words, context=context)) as events:
            async for event in events:
                progress.take(event)
                show(event)

    def _record(self, words: str, attached: str, progress: _Progress) -> Turn:
        before, whole = self.context, Message("user", joined(words, attached))
        finished, reason, confidence = progress.finished, _CANCELLED, None
        running = progress.running
        if finished is not None:
            message, usage, reason = finished.message, finished.usage, finished.reason
            read = finished.context  # of which the messages may be a part of the conversation only
            context = replace(before.add(whole, message), tokens=read.tokens, model=read.model)
            confidence = confidence_of(finished.logprob)
        else:
            message, usage = progress.message(), progress.usage()
            if progress.result is not None:
                message, reason = Message("assistant", progress.result), "stop"
            elif running is None:
                known = [value for value in progress.logprobs if not math.isnan(value)]
                confidence = confidence_of(sum(known) / len(known) if known else math.nan)
            context = before.add(whole, *([message] if message.content else []))
        if running is not None:
            usage = replace(running.usage, seconds=usage.seconds, first_token_seconds=usage.first_token_seconds)
        turn = Turn(
            words=words,
            text=message.content,
            before=before,
            reason=reason,
            confidence=confidence,
            usage=usage,
            attached=attached,
            pid=running.pid if running is not None else "",
            seen_before=self.seen,
        )
        self.totals.add(usage)
        if finished is None and not message.content:
            return turn
        seen = self._seen_with(attached)
        seen = seen if running is None else sources.joined(seen, running.seen)
        self.context, self.seen = context, sources.after_turn(seen, words, message.content)
        if progress.fitted is not None:
            self.pages.table = self.pages.table.apply(progress.fitted.change)
        self.turns.append(turn)
        self._tokens_used = usage.prompt_tokens + usage.generated_tokens
        self.save()
        return turn


def _with_system(context: Context, text: str) -> Context:
    rest = tuple(message for message in context.messages if message.role != "system")
    system = (Message("system", text),) if text else ()
    return Context(messages=(*system, *rest), tools=context.tools)
