"""`LlamaEngine`: a GGUF model run by llama.cpp in this process, for many requests at once.

The async side of the engine: it prepares prompts, hands jobs to the worker thread, and turns what they say into events.
Knows no agents, tools or memory, and no model names: it gets a path.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from llmos import wire
from llmos.engine import adapters
from llmos.engine.chat import ChatFormat
from llmos.engine.fit import Fit, fit
from llmos.engine.gguf import GgufHeader, read_header
from llmos.engine.guard import check_real_model_allowed
from llmos.engine.hardware import detect, gigabytes
from llmos.engine.llama.beams import BeamJob
from llmos.engine.llama.binding import KvType, Sampler
from llmos.engine.llama.buffers import State
from llmos.engine.llama.jobs import Began, Ended, GenerateJob, Item, Job, Piece, Scored, ScoreJob, Sink
from llmos.engine.llama.prompt import Prompts
from llmos.engine.llama.scheduler import Ticket
from llmos.engine.llama.swap import read_checked, write_checked
from llmos.engine.llama.tree import Lease
from llmos.engine.llama.worker import Worker, WorkerOptions
from llmos.engine.store import attention
from llmos.errors import ConstraintError, EngineClosed, EngineError, LlmosError, PromptTooLong, StorageError
from llmos.events import Channel, EngineEvent, Finished, Started, Token
from llmos.messages import Capability, Context, EngineInfo, Generate, Message, Microcode, Score, ScoredChoice, Scores

_T = TypeVar("_T")
_LEAVE_SECONDS = 1.0  # how long a load that is given up is waited for
_CAPABILITIES: frozenset[Capability] = frozenset(
    {"adapters", "beams", "constrain", "fork", "logprobs", "priorities", "save", "score", "tokenize", "tools"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaOptions:
    """What may be said about how a model is run; None leaves it to the automatic fit to this machine.

    Attributes:
        context: Tokens one conversation may have; at most what the model was trained for.
        cells: Tokens in the KV cache, all conversations together.
        threads: Threads of the forward pass.
        gpu_layers: Layers on the GPU.
        kv_type: Type of the KV cache.
        flash: Use flash attention on the CPU; None where it was measured to be the faster one here.
        slots: Requests that run at once; others wait.
        step_seconds: A step that reads a prompt beside running streams should take about this long.
        share: Share KV state between equal prefixes (off only to measure what it brings).
        repack: Use llama.cpp's repacked weights.
        swap_folder: Where idle KV state goes when RAM for it is used up; None keeps it off the disk.
        swap_ram_bytes, swap_disk_bytes: How much of it.
        adapters: LoRA adapters (GGUF) by name.
        name: The model's name for people; its file's own name otherwise.
        remarks: More for `EngineInfo.details`.
    """

    context: int | None = None
    cells: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    kv_type: KvType | None = None
    flash: bool | None = None
    slots: int = 32
    step_seconds: float = 0.25
    share: bool = True
    repack: bool = True
    swap_folder: Path | None = None
    swap_ram_bytes: int = 1 << 30
    swap_disk_bytes: int = 4 << 30
    adapters: Mapping[str, Path] = field(default_factory=dict[str, Path])
    name: str = ""
    remarks: Mapping[str, str] = field(default_factory=dict[str, str])


class _Outbox:
    """Carries items from the worker's thread to asyncio queues, one wake-up of each event loop a step."""

    def __init__(self) -> None:
        self._pending: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue[Item], Item]]] = {}

    def sink(self, inbox: asyncio.Queue[Item]) -> Sink:
        """Where a job's items go; called on the worker's thread only."""
        loop = asyncio.get_running_loop()

        def put(item: Item) -> None:
            self._pending.setdefault(loop, []).append((inbox, item))

        return put

    def flush(self) -> None:
        """Deliver what was put since the last time."""
        pending, self._pending = self._pending, {}
        for loop, items in pending.items():
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_deliver, items)


def _deliver(items: list[tuple[asyncio.Queue[Item], Item]]) -> None:
    for inbox, item in items:
        inbox.put_nowait(item)


class LlamaEngine:
    """Implements `llmos.kernel.protocols.Engine`; make one with `await LlamaEngine.load(path)`.

    Methods may be called from several event loops. Leaving an `async for` over `generate`, or cancelling its task,
    cancels the request at its next token.
    """

    def __init__(self, worker: Worker, outbox: _Outbox, prompts: Prompts, info: EngineInfo) -> None:
        self.worker, self._outbox, self._prompts, self._info = worker, outbox, prompts, info

    @classmethod
    async def load(cls, path: Path, options: LlamaOptions | None = None) -> LlamaEngine:
        """Load a model without blocking the event loop. Being cancelled gives it up: nothing is left of it.

        Raises:
            ModelNotFound, ModelInvalid: The file can't be run.
            OutOfMemory: It does not fit; the numbers are in the message.
            RealModelForbidden: Tests forbid real models.
        """
        check_real_model_allowed(str(path))
        stop, loaded = threading.Event(), Future[LlamaEngine]()
        loaded.set_running_or_notify_cancel()

        def load() -> None:
            try:
                loaded.set_result(cls._load(path, options or LlamaOptions(), stop))
            except BaseException as error:  # all of it belongs to whoever waits
                loaded.set_exception(error)

        # no pool's thread: Python waits for those at its end, and a slow disk can hold one up in the kernel
        thread = threading.Thread(target=load, name="llmos-loading", daemon=True)
        thread.start()
        try:
            return await asyncio.wrap_future(loaded)
        except asyncio.CancelledError:
            stop.set()
            loaded.add_done_callback(_discard)
            await asyncio.to_thread(thread.join, _LEAVE_SECONDS)
            raise

    @classmethod
    def _load(cls, path: Path, options: LlamaOptions, stop: threading.Event) -> LlamaEngine:
        header = read_header(path)
        header.require_model()
        plan = fit(
            header,
            detect(),
            context=options.context,
            sequences=options.slots,
            kv_type=options.kv_type,
            gpu_layers=options.gpu_layers,
        )
        outbox = _Outbox()
        worker = Worker(path, _worker_options(options, plan), outbox.flush, stop)
        try:
            worker.wait_ready()
            special = {piece.decode("utf-8", "replace"): token for token, piece in worker.model.controls.items()}
            chat = ChatFormat.from_template(header.chat_template, bos=header.bos, eos=header.eos, special=special)
            prompts = Prompts(worker.model, chat, header.fingerprint)
            return cls(worker, outbox, prompts, _info(header, plan, worker, chat, options))
        except BaseException:
            worker.close()
            raise

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""
        return self._info

    async def generate(self, request: Generate, /, *, prefix: tuple[int, ...] = ()) -> AsyncGenerator[EngineEvent]:
        """Continue a context; see the protocol.

        Args:
            prefix: Tokens that were already generated for this very request, by an engine that is gone. Events come
                only for what follows; `Finished` covers all.
        """
        tokens = self._prompt(request.context, reserve=1)
        seed = request.sampling.seed if request.sampling.seed is not None else random.getrandbits(31)
        inbox: asyncio.Queue[Item] = asyncio.Queue()
        sink = self._outbox.sink(inbox)
        expected = request.max_tokens if request.max_tokens is not None else 256
        ticket = _ticket(request, expected * max(request.beams, 1))

        def start() -> None:
            with _failing_into(sink):
                self.worker.add(self._generate_job(request, tokens, ticket, sink, seed, prefix))

        self.worker.submit(start)
        stream = _Stream(self._prompts, request, seed, self._prompts.spoken(prefix, request.stop), len(prefix))
        try:
            while not stream.done:
                for event in stream.events(await inbox.get()):
                    yield event
        finally:
            if not stream.done:
                self._cancel(ticket)

    def _generate_job(
        self, request: Generate, tokens: list[int], ticket: Ticket, sink: Sink, seed: int, prefix: tuple[int, ...]
    ) -> Job:
        worker = self.worker
        worker.adapter(request.adapter)
        matcher = worker.matcher(request.constraint) if request.constraint is not None else None
        if request.beams > 1:
            return BeamJob(worker.parts, request, tokens, ticket, sink, matcher=matcher, told=len(prefix))
        sampler = Sampler(worker.model, request.sampling, seed)
        return GenerateJob(worker.parts, request, tokens, ticket, sink, sampler=sampler, matcher=matcher, prefix=prefix)

    async def score(self, request: Score, /) -> Scores:
        """Compare choices by their log-likelihoods, all in one batch; see the protocol."""
        if not request.choices or not all(request.choices):
            raise ConstraintError("A score needs at least one choice and no empty ones.")
        choices = self._choice_tokens(request)
        contexts = [request.context, *([request.baseline] if request.baseline is not None else [])]
        results = await asyncio.gather(*(self._score(request, context, choices) for context in contexts))
        main = results[0]
        values = np.array(main.logprobs, dtype=np.float64)
        if len(results) > 1:
            values = values - np.array(results[1].logprobs)
        weights = np.exp((values - values.max()) / max(request.temperature, 1e-6))
        shares = weights / weights.sum()
        return Scores(
            tuple(
                ScoredChoice(choice, logprob, length, float(share))
                for choice, logprob, length, share in zip(
                    request.choices, main.logprobs, main.lengths, shares, strict=True
                )
            ),
            prompt_tokens=main.usage.prompt_tokens,
            reused_tokens=main.usage.reused_tokens,
        )

    def _choice_tokens(self, request: Score) -> list[list[int]]:
        """Ids of the choices; where one begins another, all of a conversation's get the end-of-turn token."""
        choices = [self._prompts.encode_plain(choice) for choice in request.choices]
        if not all(choices):
            raise ConstraintError("A choice has no tokens in this model's vocabulary.")
        ambiguous = any(
            first is not second and second[: len(first)] == first for first in choices for second in choices
        )
        end = self.worker.model.eot if self.worker.model.eot >= 0 else self.worker.model.eos
        if ambiguous and request.context.messages and end >= 0:
            choices = [[*choice, end] for choice in choices]
        return choices

    async def _score(self, request: Score, context: Context, choices: list[list[int]]) -> Scored:
        longest = max(map(len, choices))
        tokens = self._prompt(context, reserve=longest)
        inbox: asyncio.Queue[Item] = asyncio.Queue()
        sink = self._outbox.sink(inbox)
        ticket = _ticket(request, sum(map(len, choices)))

        def start() -> None:
            with _failing_into(sink):
                self.worker.adapter(request.adapter)
                self.worker.add(ScoreJob(self.worker.parts, request, tokens, ticket, sink, choices))

        self.worker.submit(start)
        try:
            while True:
                item = await inbox.get()
                if isinstance(item, LlmosError):
                    raise item
                if isinstance(item, Scored):
                    return item
        except asyncio.CancelledError:
            self._cancel(ticket)
            raise

    async def tokenize(self, text: str, /, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text, without BOS."""
        model = self.worker.model
        data = text.encode("utf-8", "replace")
        return tuple(await asyncio.to_thread(model.tokenize, data, special=special))

    async def detokenize(self, tokens: Sequence[int], /) -> bytes:
        """The bytes of token ids."""
        return b"".join(self.worker.model.piece(token) for token in tokens)

    async def fork(self, context: Context, n: int, /) -> tuple[Context, ...]:
        """n branches that share one KV state: the context is read once, now, if it was not before."""
        tokens = tuple(self._prompt(context, reserve=1))
        known = self._prompts.with_tokens(context, tokens)
        await self.score(Score(context=known, choices=("\n",), client="fork"))
        return (known,) * n

    async def save(self, context: Context, path: Path, /) -> None:
        """Write context and KV state to a file.

        Raises:
            StorageError: The file can't be written; an older one of that name is untouched.
        """
        own = context.tokens if context.model == self._info.fingerprint else ()
        tokens = list(own) or self._prompt(context, reserve=1)

        buffers = self.worker.tree.swap.buffers

        def take(lease: Lease) -> tuple[int, State]:
            return lease.read, self.worker.processor.save(lease.sequence, buffers) if lease.read else buffers.take(0)

        read, state = await self.on_worker(lambda: self.worker.prefetch(tokens, "", take))
        known = replace(context, tokens=tuple(tokens[:read]), model=self._info.fingerprint) if read else context
        head = wire.encode(known)
        try:
            await asyncio.to_thread(write_checked, path, _bytes(len(head).to_bytes(8, "little")), _bytes(head), state)
        except OSError as error:
            raise StorageError(
                f"The context could not be saved to {str(path)!r}: {error.strerror or error}.",
                hint="Free some disk space or choose another folder.",
            ) from error
        finally:
            buffers.give(state)

    async def restore(self, path: Path, /) -> Context:
        """Bring back what `save` wrote. State of other weights is ignored: its messages are read again.

        Raises:
            StorageError: The file is missing, damaged or not one of these.
        """
        buffers = self.worker.tree.swap.buffers
        data = await asyncio.to_thread(read_checked, path, buffers)
        if data is None:
            raise StorageError(f"{str(path)!r} is missing or damaged.", hint="The conversation is read again instead.")
        size = int.from_bytes(data[:8].tobytes(), "little")
        context = wire.decode(data[8 : 8 + size].tobytes())
        if not isinstance(context, Context):
            raise StorageError(f"{str(path)!r} holds no context.", hint="Only files written by `save` can be restored.")
        if context.model == self._info.fingerprint and context.tokens:
            state = data[8 + size :]
            await self.on_worker(lambda: self.worker.put_state(list(context.tokens), state))
        buffers.give(data)
        return context

    async def pulse(self) -> None:
        """Return after the step under way: never, if llama.cpp hangs in it."""
        await self.on_worker(lambda: None)

    async def close(self) -> None:
        """End all requests and free the model."""
        await asyncio.to_thread(self.worker.close)

    # -- inside

    def _prompt(self, context: Context, *, reserve: int) -> list[int]:
        """The tokens of a context, checked against the window.

        Raises:
            PromptTooLong: It can't fit.
        """
        if self.worker.closed:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")
        tokens = self._prompts.tokens(context)
        if not tokens:
            end = self.worker.model.bos if self.worker.model.bos >= 0 else self.worker.model.eos
            tokens = [max(end, 0)]
        if len(tokens) + reserve > self._info.context:
            raise PromptTooLong(
                f"The prompt has {len(tokens):,} tokens, the context holds {self._info.context:,}"
                f" and {reserve:,} more would be needed.",
                hint="Shorten it, drop old turns, or open the model with a larger context.",
            )
        return tokens

    def _cancel(self, ticket: Ticket) -> None:
        try:
            self.worker.submit(lambda: self.worker.cancel(ticket))
        except LlmosError:
            return  # closed: the request has ended already

    async def on_worker(self, work: Callable[[], _T]) -> _T:
        """Run something on the engine's thread, between two steps."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def run() -> None:
            try:
                result = work()
            except Exception as error:  # it is the caller's, whatever it is
                answer = partial(_fail, future, error)
            else:
                answer = partial(_settle, future, result)
            with suppress(RuntimeError):  # the caller's loop is closed: nobody waits
                loop.call_soon_threadsafe(answer)

        self.worker.submit(run)
        return await future


class _Stream:
    """Turns a job's items into a request's events.

    Args:
        spoken: Text that was streamed before, by an engine that is gone.
        index: How many tokens it had.
    """

    def __init__(self, prompts: Prompts, request: Generate, seed: int, spoken: str, index: int) -> None:
        self._prompts, self._request, self._seed, self._index = prompts, request, seed, index
        self._parser = prompts.parser(request)
        self._text: list[str] = []
        self.done = False
        self._parse(spoken)

    def events(self, item: Item) -> Iterator[EngineEvent]:
        """The events of one item.

        Raises:
            LlmosError: The item is one.
        """
        match item:
            case Began(prompt, reused):
                yield Started(request=self._request.id, prompt_tokens=prompt, reused_tokens=reused)
            case Piece():
                yield from self._tokens(item, self._parse(item.text) or [("answer", "")])
                self._index += 1
            case Ended():
                self.done = True
                rest = [*self._parse(item.tail), *(self._parser.flush() if self._parser is not None else ())]
                silent = Piece(-1, "", math.nan, item.usage.seconds)
                yield from self._tokens(silent, [(channel, text) for channel, text in rest if text])
                yield self._finished(item)
            case LlmosError():
                self.done = True
                raise item
            case Scored():
                raise AssertionError("a generate request was answered with scores")

    def _parse(self, text: str) -> list[tuple[Channel, str]]:
        """Assign text to channels."""
        if self._parser is None:
            self._text.append(text)
            return [("answer", text)]
        return self._parser.feed(text)

    def _tokens(self, piece: Piece, segments: list[tuple[Channel, str]]) -> Iterator[Token]:
        """One event for the token, and one without an id for each further channel its text touches."""
        for number, (channel, text) in enumerate(segments):
            yield Token(
                request=self._request.id,
                index=self._index,
                token=piece.token if number == 0 else -1,
                text=text,
                logprob=piece.logprob if number == 0 else math.nan,
                seconds=piece.seconds,
                channel=channel,
                top=piece.top if number == 0 else (),
            )

    def _finished(self, ended: Ended) -> Finished:
        message = self._parser.finish() if self._parser is not None else Message("assistant", "".join(self._text))
        return Finished(
            request=self._request.id,
            reason="tool_calls" if message.tool_calls and ended.reason == "stop" else ended.reason,
            message=message,
            context=self._prompts.with_tokens(self._request.context, ended.tokens, message),
            logprob=ended.logprob,
            seed=self._seed,
            usage=ended.usage,
        )


def _discard(loaded: Future[LlamaEngine]) -> None:
    """Free an engine that nobody waits for any more."""
    if loaded.exception() is None:
        loaded.result().worker.close()


def _settle(future: asyncio.Future[_T], result: _T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[_T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


@contextmanager
def _failing_into(sink: Sink) -> Generator[None]:
    """Send an error of the block to the request instead of raising it on the worker's thread."""
    try:
        yield
    except LlmosError as error:
        sink(error)
    except Exception as error:  # a defect of ours must end this request, not leave it waiting for ever
        traceback.print_exc()
        sink(EngineError(f"The request could not be started: {type(error).__name__}: {error}."))


def _bytes(data: bytes) -> State:
    return np.frombuffer(data, dtype=np.uint8)


def _ticket(request: Generate | Score, expected: int) -> Ticket:
    return Ticket(client=request.client, priority=request.priority, adapter=request.adapter, expected=expected)


def _worker_options(options: LlamaOptions, plan: Fit) -> WorkerOptions:
    return WorkerOptions(
        cells=options.cells or plan.cells,
        context=min(plan.context, options.cells or plan.cells),
        rows=plan.batch,
        slots=options.slots,
        threads=options.threads or plan.threads,
        kv_type=plan.kv_type,
        flash=attention.flash() if options.flash is None else options.flash,
        gpu_layers=plan.gpu_layers,
        repack=options.repack,
        step_seconds=options.step_seconds,
        share=options.share,
        swap_folder=options.swap_folder,
        swap_ram_bytes=options.swap_ram_bytes,
        swap_disk_bytes=options.swap_disk_bytes,
        adapters=dict(options.adapters),
    )


def _info(header: GgufHeader, plan: Fit, worker: Worker, chat: ChatFormat, options: LlamaOptions) -> EngineInfo:
    capabilities = _CAPABILITIES if worker.tree.shares else _CAPABILITIES - {"fork", "save"}
    microcode = _microcode(header, options)
    return EngineInfo(
        name=options.name or header.name or header.path.stem,
        fingerprint=header.fingerprint,
        context=worker.parts.context,
        vocabulary=worker.model.tokens,
        template=chat.source,
        tool_format=chat.tool_format,
        capabilities=capabilities,
        parameters=header.parameters,
        details={
            "file": str(header.path),
            "quantization": header.file_type,
            "parameters": f"{header.parameters:,}",
            "KV cache": f"{worker.processor.cells:,} tokens, {plan.kv_type}",
            "layers on GPU": plan.offload,
            "memory": f"{gigabytes(plan.bytes_ram)} RAM"
            + (f", {gigabytes(plan.bytes_gpu)} GPU" if plan.gpu_layers else ""),
            "threads": str(worker.processor.threads),
            **({"microcode": microcode.name} if microcode else {}),
            **options.remarks,
        },
        microcode=microcode,
    )


def _microcode(header: GgufHeader, options: LlamaOptions) -> Microcode | None:
    """What is merged into the model, or else the first hot adapter that is microcode for it."""
    merged = adapters.merged_notes(header)
    if merged is not None:
        return _told(merged)
    for name, path in options.adapters.items():
        with suppress(
            LlmosError
        ):  # those that are no microcode, and broken ones, which fail the requests that name them
            return replace(_told(adapters.notes(path)), adapter=name)
    return None


def _told(notes: adapters.Notes) -> Microcode:
    return Microcode(
        name=notes.name,
        prompts=notes.prompts,
        temperatures=notes.temperatures,
        thresholds=notes.thresholds,
        digest=notes.digest,
    )
