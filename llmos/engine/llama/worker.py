"""The engine's thread: owns model, context, samplers and tree, and runs one `llama_decode` after another.

Commands come in through a queue, what jobs have to say goes out through their sinks. Knows no chat formats and no
asyncio.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from llmos.engine.llama.binding import Adapter, Batch, KvType, Model, Processor
from llmos.engine.llama.buffers import State
from llmos.engine.llama.constraint import Constraints, Matcher
from llmos.engine.llama.jobs import GenerateJob, Job, Parts
from llmos.engine.llama.pace import Pace
from llmos.engine.llama.scheduler import HEADROOM, Scheduler, Ticket
from llmos.engine.llama.swap import Swap
from llmos.engine.llama.tree import Lease, PrefixTree, as_tokens, common_prefix
from llmos.errors import EngineClosed, EngineError, LlmosError, ModelNotFound, OutOfMemory
from llmos.messages import Constraint

_T = TypeVar("_T")
_SWITCH_INTERVAL = 0.0005  # seconds; the default of 5 ms lets a busy Python thread delay every step by that much
_SHARE_FROM = 32  # tokens: waiting for another request's prefix pays from here on
_FEWEST_ROWS = 32
_LOOK_AHEAD = 64  # waiting requests whose cached prefix is looked up again before each admission


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How the engine uses the machine.

    Attributes:
        cells: Tokens in the KV cache, all sequences together.
        context: Tokens that one sequence may have.
        rows: Rows of one `llama_decode` at most.
        slots: Requests that run at once.
        threads: Threads of the forward pass.
        kv_type: Type of the KV cache.
        flash: Use flash attention where plain attention is possible too.
        gpu_layers: Layers on the GPU.
        repack: Use llama.cpp's repacked weights and AMX kernels (see `probe`).
        step_seconds: A step with a prompt in it should take about this long, so that streams beside it go on.
        share: Share KV state between equal prefixes.
        swap_folder, swap_ram_bytes, swap_disk_bytes: Where idle state goes, and how much of it.
        adapters: LoRA adapters by name.
    """

    cells: int
    context: int
    rows: int = 512
    slots: int = 32
    threads: int = 1
    kv_type: KvType = "f16"
    flash: bool = False
    gpu_layers: int = 0
    repack: bool = True
    step_seconds: float = 0.25
    share: bool = True
    swap_folder: Path | None = None
    swap_ram_bytes: int = 1 << 30
    swap_disk_bytes: int = 4 << 30
    adapters: dict[str, Path]


class Worker:
    """Runs jobs on one model until it is closed.

    Args:
        path: A GGUF file whose header has been checked.
        flush: Called after each step, so that what sinks collected is passed on at once.
        stop: Set by another thread to have loading given up, which `wait_ready` tells as `EngineClosed`.
    """

    def __init__(
        self, path: Path, options: WorkerOptions, flush: Callable[[], None], stop: threading.Event | None = None
    ) -> None:
        self.options = options
        self._path, self._flush, self._stop = path, flush, stop
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._failure: LlmosError | None = None
        self._closing = False
        self._gate = threading.Lock()
        self._hold = False
        self._constraints: Constraints | None = None
        self._by_ticket: dict[Ticket, Job] = {}
        self.pace = Pace(options.threads)
        self.steps = 0
        self._thread = threading.Thread(target=self._main, name="llmos-engine", daemon=True)
        self._thread.start()

    # -- from other threads

    def wait_ready(self) -> None:
        """Block until the model is loaded.

        Raises:
            ModelInvalid, OutOfMemory: It could not be loaded.
        """
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def submit(self, command: Callable[[], None]) -> None:
        """Have something done on the engine's thread between two steps."""
        with self._gate:
            if self._closing:
                raise EngineClosed("The engine is closed.", hint="Open a new one.")
            self._commands.put(command)

    def close(self) -> None:
        """End all jobs with `EngineClosed` and free everything; returns when that is done."""
        with self._gate:
            self._closing = True
            self._commands.put(lambda: None)
        self._thread.join()

    # -- on the engine's thread

    def add(self, job: Job) -> None:
        """Queue a job."""
        self._by_ticket[job.ticket] = job
        self._price(job)
        self.scheduler.add(job.ticket, time.perf_counter())

    def cancel(self, ticket: Ticket) -> None:
        """End a job at once; what it read stays known."""
        job = self._by_ticket.get(ticket)
        if job is not None:
            if isinstance(job, GenerateJob):
                job.end("cancelled")
            self._end(job)

    def matcher(self, constraint: Constraint) -> Matcher:
        """A matcher for the model's vocabulary."""
        if self._constraints is None:
            self._constraints = Constraints(self.model)
        return self._constraints.matcher(constraint)

    def adapter(self, name: str) -> Adapter | None:
        """A loaded adapter by name; it is loaded when first asked for."""
        if not name:
            return None
        if name not in self._adapters:
            path = self.options.adapters.get(name)
            if path is None:
                known = ", ".join(sorted(self.options.adapters)) or "none"
                raise ModelNotFound(
                    f"There is no adapter {name!r}; known: {known}.", hint="Give its path when opening."
                )
            self._adapters[name] = Adapter(self.model, path)
        return self._adapters[name]

    def prefetch(self, tokens: list[int], adapter: str, use: Callable[[Lease], _T]) -> _T:
        """Share what is known of `tokens` into a lease for the time of `use`; returns what that does."""
        lease = self.tree.lease(adapter)
        if lease is None:
            raise EngineError("All sequences are in use.", hint="Wait for a running request to end.")
        try:
            self.tree.acquire(lease, as_tokens(tokens))
            return use(lease)
        finally:
            self.tree.release(lease)

    def put_state(self, tokens: list[int], state: State) -> None:
        """Make a saved state known; without room, or of another layout, it is ignored and the tokens are read again."""
        lease = self.tree.lease()
        if lease is None:
            return
        try:
            if self.tree.make_room(len(tokens)) and self.processor.load(lease.sequence, state):
                lease.read = len(tokens)
                self.tree.publish(lease, as_tokens(tokens))
        finally:
            self.tree.release(lease)

    @property
    def closed(self) -> bool:
        """Whether it was closed or has failed to open."""
        return self._closing

    @property
    def idle(self) -> bool:
        """Whether no job waits or runs."""
        return not self._by_ticket

    def _main(self) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, _SWITCH_INTERVAL))
        try:
            try:
                self._open()
            except LlmosError as error:
                self._failure = error
                return
            except Exception as error:  # `wait_ready` must not take it for a loaded model
                self._failure = EngineError(f"{str(self._path)!r} could not be opened: {error}.")
                return
            finally:
                self._ready.set()
            self._run()
        finally:
            sys.setswitchinterval(interval)
            self._shut()

    def _open(self) -> None:
        options = self.options
        self._adapters: dict[str, Adapter] = {}
        self._closers: list[Callable[[], None]] = []
        self.model = Model(self._path, gpu_layers=options.gpu_layers, repack=options.repack, stop=self._stop)
        self._closers.append(self.model.close)
        self.processor = Processor(
            self.model,
            cells=options.cells,
            rows=options.rows,
            threads=options.threads,
            kv_type=options.kv_type,
            flash=options.flash,
        )
        self._closers.append(self.processor.close)
        self.batch = Batch(options.rows)
        self._closers.append(self.batch.close)
        swap = Swap(options.swap_folder, ram_bytes=options.swap_ram_bytes, disk_bytes=options.swap_disk_bytes)
        self._closers.append(swap.close)
        self.tree = PrefixTree(
            self.processor,
            capacity=self.processor.cells,
            sequences=self.processor.sequences,
            swap=swap,
            shares=options.share and self.processor.cuts_anywhere,
        )
        self.scheduler = Scheduler(slots=options.slots)
        self.parts = Parts(self.model, self.processor, self.tree, options.context)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._obey()
                if self._by_ticket and not self._closing:
                    self._step()
            except Exception as error:  # a defect of ours must end requests, not leave them waiting for ever
                self._fail_all(EngineError(f"The engine failed: {type(error).__name__}: {error}.", hint="Ask again."))
                traceback.print_exc()
            self._flush()

    def _obey(self) -> None:
        """Carry out waiting commands; with nothing to run, wait for one."""
        block = not self._by_ticket
        while True:
            try:
                command = self._commands.get(block=block)
            except queue.Empty:
                return
            command()
            block = False

    def _shut(self) -> None:
        with self._gate:
            self._closing = True
        while True:
            try:
                self._commands.get_nowait()()
            except queue.Empty:
                break
            except Exception:  # a command that fails must not keep the others from being answered
                traceback.print_exc()
        self._fail_all(EngineClosed("The engine was closed during the request.", hint="Open a new one and ask again."))
        self._flush()
        for close in reversed(getattr(self, "_closers", [])):
            close()

    def _step(self) -> None:
        now = time.perf_counter()
        self._admit(now)
        running = [self._by_ticket[ticket] for ticket in self.scheduler.running]
        for job in running:
            job.ticket.rows = job.wants()
        decoding = any(job.ticket.decoding for job in running)
        seconds = self.options.step_seconds if decoding else 2 * self.options.step_seconds
        room = (
            self.tree.free_cells
            + self.tree.evictable()
            - sum(job.ticket.rows for job in running if job.ticket.decoding)
        )
        budget = max(min(max(int(self.pace.prompt_rate * seconds), _FEWEST_ROWS), room), 1)
        grants = self.scheduler.rows(now, capacity=self.batch.capacity, prompt_budget=budget)
        if grants and self._reserve(sum(rows for _, rows in grants), now):
            self._decode([(self._by_ticket[ticket], rows) for ticket, rows in grants])

    def _decode(self, grants: list[tuple[Job, int]]) -> None:
        """One forward pass over the granted rows."""
        self.batch.clear()
        filled: list[tuple[Job, int]] = []
        for job, limit in grants:
            before = self.batch.rows, self.batch.outputs
            with _Guard(job):
                filled.append((job, job.fill(self.batch, limit)))
            if job.finished:
                self.batch.rows, self.batch.outputs = before
                self._end(job)
        if not self.batch.rows:
            return
        self.processor.use(self._adapters.get(filled[0][0].ticket.adapter))
        start = time.perf_counter()
        self.processor.set_threads(self.pace.plan(start))
        code = self.processor.decode(self.batch)
        end = time.perf_counter()
        if code == 1:
            self._relieve(start)
            return
        if code != 0:
            self._fail_step(filled, code)
            return
        self._hold = False
        prompt_rows = sum(rows for job, rows in filled if not job.ticket.decoding)
        self.pace.learn(self.batch.rows, prompt_rows, end - start, end)
        for job, rows in filled:
            with _Guard(job):
                job.consume()
            self.scheduler.charge(job.ticket, rows, start)
            if job.finished:
                self._end(job)
        self.steps += 1

    # -- room

    def _admit(self, now: float) -> None:
        """Start what may start, suspending lower classes where that is needed."""
        if not self.scheduler.waiting or (self._hold and self.scheduler.running):
            return
        for ticket in self.scheduler.waiting[:_LOOK_AHEAD]:
            self._price(self._by_ticket[ticket])
        while True:
            chosen, victim = self.scheduler.admissible(now, self._fits, self._blocked)
            if victim is not None:
                self._suspend(self._by_ticket[victim])
            elif chosen is None or not self._start(self._by_ticket[chosen], now):
                return

    def _price(self, job: Job) -> None:
        """Tell the scheduler what a waiting job will cost."""
        job.ticket.prompt = len(job.tokens)
        resident, _ = self.tree.peek(job.known, job.ticket.adapter)
        job.ticket.resident = min(resident, len(job.tokens) - 1)

    def _fits(self, ticket: Ticket) -> bool:
        if not self.scheduler.running:
            return True
        needed = min(ticket.prompt - ticket.resident + min(ticket.expected, HEADROOM), self.tree.capacity)
        running = [self._by_ticket[other] for other in self.scheduler.running]
        unread = sum(max(len(job.tokens) - job.lease.read, 0) for job in running if job.lease is not None)
        own = self.tree.idle(self._by_ticket[ticket].known, ticket.adapter)
        return needed + unread <= self.tree.free_cells + self.tree.evictable() - own

    def _blocked(self, ticket: Ticket) -> bool:
        """Whether a running request is reading a prefix that this one needs too; it is then waited for."""
        if not self.tree.shares:
            return False
        tokens = self._by_ticket[ticket].known
        _, known = self.tree.peek(tokens, ticket.adapter)
        for other in self.scheduler.running:
            job = self._by_ticket[other]
            if other.level > ticket.level:
                continue  # it may not get a row for a while
            if other.adapter != ticket.adapter or job.lease is None or job.lease.published >= job.prompt:
                continue
            shared = min(common_prefix(job.known[: job.prompt], tokens), len(tokens) - 1)
            if shared < known + _SHARE_FROM:
                continue
            if job.lease.read < shared:
                return True
            self.tree.publish(job.lease, tokens[:shared])
        return False

    def _start(self, job: Job, now: float) -> bool:
        self.tree.clear_idle(job.known, job.ticket.adapter)
        job.lease = lease = self.tree.lease(job.ticket.adapter)
        if lease is None:
            return False
        self.scheduler.start(job.ticket, now)
        with _Guard(job):
            self.tree.acquire(lease, job.known[:-1])
            self.adapter(job.ticket.adapter)
            job.begin(lease)
        if job.finished:
            self._end(job)
        return True

    def _reserve(self, rows: int, now: float) -> bool:
        """Have cells for the step's rows, suspending requests if need be; False if the step must be planned again."""
        if self.tree.make_room(rows):
            return True
        self._relieve(now)
        return False

    def _relieve(self, now: float) -> None:
        """Cells ran out with nothing idle to swap: suspend the last in order; alone, a request can't go on."""
        if self.tree.evictable():
            self.tree.make_room(self.tree.free_cells + self.tree.evictable())
            return
        victim = self.scheduler.victim(None, now) if len(self.scheduler.running) > 1 else None
        if victim is not None:
            self._suspend(self._by_ticket[victim])
            self._hold = True  # what was made room for comes first, else the two take turns for ever
            return
        job = self._by_ticket[self.scheduler.order(self.scheduler.running, now)[-1]]
        job.sink(
            OutOfMemory(
                f"The request needs more than the {self.tree.capacity:,} tokens of KV cache that there are.",
                hint="Ask for a larger context, or for fewer beams or choices at once.",
            )
        )
        self._end(job)

    def _suspend(self, job: Job) -> None:
        """Take a job off the processor; its state stays known and it goes on later from there."""
        assert job.lease is not None
        job.suspend()
        self._give_up(job)
        self.scheduler.suspend(job.ticket)

    # -- ends

    def _end(self, job: Job) -> None:
        """Free a job's place; what it read stays known."""
        job.finished = True
        self._by_ticket.pop(job.ticket, None)
        self.scheduler.remove(job.ticket)
        job.close()
        self._give_up(job)

    def _give_up(self, job: Job) -> None:
        """End a job's lease, if it has one, and let others share what it read."""
        lease, job.lease = job.lease, None
        if lease is not None:
            self.tree.publish(lease, job.known[: lease.read])
            self.tree.release(lease)

    def _fail_all(self, error: EngineError) -> None:
        for job in list(self._by_ticket.values()):
            job.sink(error)
            self._end(job)

    def _fail_step(self, filled: list[tuple[Job, int]], code: int) -> None:
        """`llama_decode` failed for good: these requests end, the others go on with what is known to be sound."""
        for job, _ in filled:
            if job.lease is not None:
                job.lease.read = min(job.lease.read, self.processor.length(job.lease.sequence))
            job.sink(EngineError(f"llama.cpp failed to compute a step (code {code}).", hint="Ask again."))
            self._end(job)


class _Guard:
    """Turns an error inside one job into the end of that job alone."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, LlmosError):
            self._job.finished = True
            self._job.sink(error)
            return True
        if isinstance(error, Exception):  # a defect in one request's work must not end the others'
            traceback.print_exception(error)
            self._job.finished = True
            self._job.sink(EngineError(f"The request failed: {type(error).__name__}: {error}.", hint="Ask again."))
            return True
        return False
