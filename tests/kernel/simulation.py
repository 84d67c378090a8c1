"""A kernel in a world of its own: a virtual clock, random programs of agents, and somebody who sends signals.

Everything comes from one seed, so that a failure can be had again by its seed. Real are the kernel (processes, calls,
gate, limits, budgets, journal on a real file) and the scripted engine; made up are time and the outside world.

A program is JSON data: a list of steps that `actor` carries out. `calm` programs have results that depend on no timing:
whatever is cut and resumed must come out the same. `wild` ones also have time limits, races, faults and signals.
"""

from __future__ import annotations

import asyncio
import math
import random
import selectors
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.errors import Denied, LlmosError, NoSuchProcess, RemoteError
from llmos.events import CallStarted, EngineEvent, Finished, KernelEvent, Notice, ProcessChanged, Token
from llmos.kernel import control
from llmos.kernel.branch import Branch
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Approval, Effect, Label, Result, Traits
from llmos.kernel.calls import Reply as Consent
from llmos.kernel.entry import AgentCode, Entry
from llmos.kernel.journal import Journal
from llmos.kernel.limits import Limit
from llmos.kernel.process import Child, Process
from llmos.kernel.protocols import Access, Memo
from llmos.kernel.system import System, Task
from llmos.messages import CLASSES, Context, Generate, Priority, Score, Scores
from tests.kernel.conftest import Lever, Permissive

Json = Any
_ENDED = ("done", "failed", "killed")
_UNCOUNTED = ("now", "random", "race")
_BEGIN = 1000.0
_AFTER_ALL = 10_000.0
_PRIORITIES: tuple[Priority, ...] = ("interactive", "normal", "background")


# -- time


class Deadlock(AssertionError):
    """Nobody can go on, and nothing will happen any more."""


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: where the loop would sleep, the clock jumps."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("a run never ends: everybody waits, and no timer is set")
        if timeout > 0:
            self.loop.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only where nobody has anything to do.

    Attributes:
        at_rest: Called before each jump, when nobody has anything to do.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.at_rest: Callable[[], None] = lambda: None
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        self.at_rest()
        self.now += seconds


# -- limits, watched


@dataclass(eq=False)
class Ticket:
    """One call that waits for a place, and whom it let go before."""

    priority: Priority
    client: str
    deadline: float
    nth: int
    task: asyncio.Task[Any] | None
    passed: Counter[str] = field(default_factory=Counter[str])

    @property
    def waits(self) -> bool:
        return self.task is None or not self.task.cancelling()


class Watched(Limit):
    """A limit that checks, at every call it lets in, what `Limit` promises."""

    def __init__(self, places: int) -> None:
        super().__init__(places)
        self.tickets: list[Ticket] = []
        self.longest = 0

    async def _enter(self, priority: Priority, client: str, seconds: float | None, deadline: float) -> None:
        before = sum(ticket.priority == priority and ticket.client == client for ticket in self.tickets)
        ticket = Ticket(priority, client, deadline, before + 1, asyncio.current_task())
        self.tickets.append(ticket)
        self.longest = max(self.longest, len(self.tickets))
        try:
            await super()._enter(priority, client, seconds, deadline)
        finally:
            if ticket in self.tickets:
                self.tickets.remove(ticket)

    def _admit(self, waiter: Any) -> None:  # noqa: ANN401
        super()._admit(waiter)
        assert self.running <= self.places, "more at once than there are places"
        who = (waiter.priority, waiter.client, waiter.deadline)
        own = [one for one in self.tickets if (one.priority, one.client, one.deadline) == who]
        self.tickets.remove(next(one for one in own if one.waits or one is own[-1]))
        for other in self.tickets:
            if not other.waits:
                continue
            assert CLASSES[other.priority] >= CLASSES[waiter.priority], "a call waits behind one of lower priority"
            if other.priority != waiter.priority:
                continue
            assert other.deadline >= waiter.deadline, "a call waits behind one with a later deadline"
            if waiter.deadline == math.inf and other.client != waiter.client:
                other.passed[waiter.client] += 1
                assert other.passed[waiter.client] <= other.nth + 1, f"{other.client} starves behind {waiter.client}"

    def at_rest(self) -> None:
        """Nobody has anything to do: whoever waits must have a reason."""
        assert self.running == self.places or not [one for one in self.tickets if one.waits], "waits for a free place"


# -- the world


class A(BaseModel):
    number: int


class B(BaseModel):
    number: int


@dataclass
class World:
    """What lives outside of the kernel: what was done there, by idempotency key."""

    done: dict[str, int] = field(default_factory=dict[str, int])
    memory: dict[str, Memo] = field(default_factory=dict[str, Memo])
    called: Counter[str] = field(default_factory=Counter[str])

    def copy(self) -> World:
        return World(dict(self.done), dict(self.memory))

    async def remember(self, text: str, /, *, label: Label, source: str = "", key: str = "") -> None:
        self.memory.setdefault(key, Memo(text, label, source))

    async def recall(self, query: str, /, *, limit: int = 5) -> tuple[Memo, ...]:
        return tuple(memo for memo in self.memory.values() if memo.text == query)[:limit]


class ClosedEngine(ScriptedEngine):
    """A scripted engine that also counts how each request ended, and fails as often as a prompt says."""

    def __init__(self, seed: int) -> None:
        super().__init__(self._say, seconds_per_token=0.25)
        self.finished: Counter[str] = Counter()
        self._seed = seed
        self._failed: set[str] = set()

    def _say(self, request: Generate) -> Reply:
        asked = request.context.messages[-1].content
        if "fault" in asked and request.id not in self._failed:
            self._failed.add(request.id)
            return Reply("Hm", error=RemoteError("The server went away.", hint="Try again."))
        chance = random.Random(zlib.crc32(f"{self._seed} {asked}".encode()))
        return Reply(" ".join(f"w{chance.randrange(100)}" for _ in range(chance.choice((1, 1, 2, 4, 8)))))

    async def generate(self, request: Generate, /, *, prefix: tuple[int, ...] = ()) -> AsyncGenerator[EngineEvent]:
        stream = super().generate(request, prefix=prefix)
        try:
            async for event in stream:
                if isinstance(event, Finished):
                    self.finished[request.id] += 1
                yield event
        finally:
            await stream.aclose()

    async def score(self, request: Score, /) -> Scores:
        self.finished[request.id] += 1
        return await super().score(request)


class Absent:
    """A person who takes a while to answer."""

    async def approve(self, approval: Approval, /) -> Consent:
        await asyncio.sleep(3)
        return "once"

    async def answer(self, pid: str, question: str, /) -> str:
        await asyncio.sleep(3)
        return f"yes to {question}"


class Recorded(Lever):
    """A tool that can say what it did."""

    async def done(self, arguments: Mapping[str, Any], access: Access, /) -> Result | None:
        known = await super().done(arguments, access)
        return known and replace(known, text=f"{self.name} {arguments['n']}")


def tools(world: World) -> tuple[Lever, ...]:
    """Effects with a key, without one but with a way to look, and harmless ones that may take too long."""

    def lever(name: str, effect: Effect, *, keyed: bool, seconds: float, parallel: int) -> Lever:
        async def does(arguments: Mapping[str, Any], access: Access) -> Result:
            world.called[access.key] += 1
            if keyed or effect == "writes":
                if not keyed:
                    assert access.key not in world.done, "an effect without a key happened twice"
                world.done[access.key] = arguments["n"]
            await asyncio.sleep(arguments["seconds"])
            return Result(f"{name} {arguments['n']}", label="user")

        traits = Traits(effect=effect, keyed=keyed, seconds=seconds, parallel=parallel)
        return Recorded(name, traits, does, None if keyed else world.done.__contains__)

    return (
        lever("pay", "external", keyed=True, seconds=60, parallel=1),
        lever("write", "writes", keyed=False, seconds=60, parallel=2),
        lever("look", "reads", keyed=False, seconds=2, parallel=3),
    )


# -- programs


def program(chance: random.Random, *, wild: bool, depth: int = 0, letters: int = 0) -> dict[str, Any]:
    """A random program.

    Args:
        letters: How many letters its parent will send, which it receives.
    """
    bounded = not letters and depth > 0 and chance.random() < 0.3
    write = _Writer(chance, wild=wild, depth=depth, plain=bounded and not wild)
    # a wild parent may be kept from sending them
    steps: list[Json] = [["receive", "A", 60 if wild else None] for _ in range(letters)]
    for _ in range(chance.randint(2, 12) if depth == 0 else chance.randint(1, 5)):
        steps.extend(write.step())
    steps.extend(["wait", number] for number in write.unwaited if not (wild and chance.random() < 0.3))
    if not letters and depth > 0 and chance.random() < 0.1:
        steps.append(["fail", "no"])
    return {
        "steps": steps,
        "caught": chance.random() < (0.7 if wild else 0.5),
        "budget": _budget(chance, wild=wild, steps=bounded),
        "priority": chance.choice((None, *_PRIORITIES)),
        "client": chance.choice(("actor", "worker", "helper")),
        "letters": letters,
    }


def _budget(chance: random.Random, *, wild: bool, steps: bool) -> dict[str, float]:
    budget: dict[str, float] = {"steps": chance.randint(1, 6)} if steps else {}
    if wild:
        for name, least, most in (("seconds", 1, 40), ("calls", 0, 3), ("tokens", 10, 200)):
            if chance.random() < 0.15:
                budget[name] = chance.randint(least, most)
        if chance.random() < 0.1:
            budget["deadline"] = _BEGIN + chance.randint(2, 40)
    return budget


class _Writer:
    """Writes the steps of one program."""

    def __init__(self, chance: random.Random, *, wild: bool, depth: int, plain: bool) -> None:
        self.chance, self.wild, self.depth = chance, wild, depth
        self.children = 0
        self.unwaited: list[int] = []
        kinds = ["think", "think", "act", "act", "act", "sleep", "choose", "checkpoint", "remember"]
        kinds += [] if plain else ["forks", "spawn", "spawn", "spawn"]
        kinds += ["receive", "race", "random", "now", "ask", "stray", "fault", "aside", "first"] if wild else []
        self.kinds = [kind for kind in kinds if depth < 3 or kind != "spawn"]

    def step(self) -> list[Json]:
        chance = self.chance
        match kind := chance.choice(self.kinds):
            case "think" | "choose" | "remember":
                return [[kind, f"{kind} {chance.randrange(1000)}"]]
            case "fault":
                return [["think", f"fault {chance.randrange(1000)}"]]
            case "act":
                return [self._act()]
            case "sleep":
                return [["sleep", chance.choice((0, 0.25, 1, 5))]]
            case "forks":
                branches = [[self._inner() for _ in range(chance.randint(1, 3))] for _ in range(chance.randint(1, 6))]
                return [["forks", branches]]
            case "aside":
                return [["aside", [self._inner() for _ in range(2)]]]
            case "first":
                return [["first", [[self._inner() for _ in range(chance.randint(1, 2))] for _ in range(3)]]]
            case "race":
                return [["race", [[self._inner() for _ in range(chance.randint(1, 2))] for _ in range(2)]]]
            case "spawn":
                return self._spawn()
            case "receive":
                return [["receive", chance.choice("AB"), chance.choice((0.5, 2))]]
            case "stray":
                return [["send", chance.choice((-1, 0, 1, 7)), "B", chance.randrange(100)]]
            case _:
                return [[kind]]

    def _act(self) -> Json:
        chance = self.chance
        tool = chance.choice(("pay", "write", "look"))
        long = (0, 0.25, 1, 5) if self.wild else (0, 0.25, 1)
        return ["act", tool, chance.randrange(1000), chance.choice(long)]

    def _inner(self) -> Json:
        chance = self.chance
        return self._act() if chance.random() < 0.5 else ["think", f"branch {chance.randrange(1000)}"]

    def _spawn(self) -> list[Json]:
        chance = self.chance
        letters, number = chance.choice((0, 0, 1, 3)), self.children
        child = program(chance, wild=self.wild, depth=self.depth + 1, letters=letters)
        self.children += 1
        steps: list[Json] = [["spawn", child, chance.random() < 0.3]]
        steps.extend(["send", number, "A", chance.randrange(100)] for _ in range(letters))
        if chance.random() < 0.5:
            steps.append(["wait", number])
        else:
            self.unwaited.append(number)
        return steps


async def actor(process: Process, plan: Json) -> Json:
    """Carries out a program; returns what came of each step."""
    children: list[Child] = []
    results: list[Json] = []
    for step in plan["steps"]:
        try:
            results.append(await _step(process, step, children))
        except LlmosError as error:
            if not plan["caught"]:
                raise
            results.append(["error", type(error).__name__])
    return results


async def worker(process: Process, plan: Json) -> Json:
    """Another client of the limits."""
    return await actor(process, plan)


async def helper(process: Process, plan: Json) -> Json:
    """One more."""
    return await actor(process, plan)


AGENTS = {"actor": actor, "worker": worker, "helper": helper}


async def _step(process: Process, step: list[Any], children: list[Child]) -> Json:
    if step[0] == "wait":
        number: int = step[1]
        return await process.wait(children[number]) if number < len(children) else "no such child"
    match step:
        case ["spawn", plan, forked]:
            bounds = Budget(**plan["budget"])
            child = await process.spawn(plan["client"], plan, forked=forked, budget=bounds, priority=plan["priority"])
            children.append(child)
            return child.entry.path
        case ["send", number, kind, value]:
            to = _receiver(process, number, children)
            await process.send(to, (A if kind == "A" else B)(number=value))
            return to
        case ["receive", kind, seconds]:
            if kind == "A":
                return (await process.receive(A, seconds=seconds)).number
            return (await process.receive(B, seconds=seconds)).number
        case ["forks", branches]:
            forks = [await process.fork() for _ in branches]
            lines = [_branch(fork, own) for fork, own in zip(forks, branches, strict=True)]
            return _all(await asyncio.gather(*lines, return_exceptions=True))
        case ["aside", own]:
            left = asyncio.ensure_future(_branch(process.aside(), own))
            left.add_done_callback(lambda task: task.cancelled() or task.exception())
            return None
        case ["first", branches]:
            running = [asyncio.ensure_future(_branch(process.aside(), own)) for own in branches]
            for line in running:
                line.add_done_callback(lambda task: task.cancelled() or task.exception())
            place = await process.first(running)
            _all(await asyncio.gather(*running, return_exceptions=True))
            return place
        case ["race", branches]:
            forks = [await process.fork() for _ in branches]
            return await process.race(*(_bind(fork, own) for fork, own in zip(forks, branches, strict=True)))
        case ["choose", prompt]:
            return (await process.think(prompt, choices=("left", "right"))).value
        case ["remember", text]:
            await process.remember(text)
            return len(await process.recall(text)) > 0
        case ["fail", why]:
            raise Denied(why)
        case _:
            return await _simple(process, step)


def _all(results: Sequence[Any]) -> list[Json]:
    """All results, or the first error by place: by time it could be another one when the run is resumed."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return list(results)


def _receiver(process: Process, number: int, children: list[Child]) -> str:
    if number < 0:
        parent = process.entry.parent
        return parent.pid if parent is not None else "nobody"
    return children[number].pid if number < len(children) else "nobody"


def _bind(branch: Branch, steps: list[Json]) -> Callable[[], Any]:
    return lambda: _branch(branch, steps)


async def _branch(branch: Branch, steps: list[Json]) -> list[Json]:
    return [await _simple(branch, step) for step in steps]


async def _simple(branch: Branch, step: Json) -> Json:
    match step:
        case ["think", prompt]:
            return (await branch.think(prompt)).text
        case ["act", tool, n, seconds]:
            return (await branch.act(tool, {"n": n, "seconds": seconds})).text
        case ["sleep", seconds]:
            await branch.sleep(seconds)
        case ["checkpoint"]:
            await branch.checkpoint()
        case ["now"]:
            return branch.now()
        case ["random"]:
            return branch.random()
        case ["ask"]:
            return await branch.ask("Well?")
        case _:
            raise AssertionError(step)
    return None


# -- one life of a kernel


@dataclass
class Snapshot:
    """What a kill at some moment would leave behind."""

    journal: bytes
    head: bytes
    world: World
    started: set[tuple[str, str, int]]
    now: float


class Tap(Journal):
    """A journal that, after every commit, may take a copy of all that is on the disk then."""

    committed: Callable[[], None] = staticmethod(lambda: None)

    def _commit(self, durable: bool = False) -> Any:  # noqa: ANN401
        return _Told(super()._commit(durable), self)

    def image(self) -> tuple[bytes, bytes]:
        return self._database.serialize(), (self.folder / "journal.head").read_bytes()


class _Told:
    def __init__(self, commit: Any, journal: Tap) -> None:  # noqa: ANN401
        self._commit, self._journal = commit, journal

    def __enter__(self) -> Any:  # noqa: ANN401
        return self._commit.__enter__()

    def __exit__(self, *error: Any) -> Any:  # noqa: ANN401
        result = self._commit.__exit__(*error)
        if error[0] is None:
            self._journal.committed()
        return result


class Life(System):
    """A kernel from its start to its end, with everything about it that is checked.

    Args:
        seed: Of everything.
        folder: An empty one.
        before: What an earlier life left.
    """

    def __init__(self, seed: int, folder: Path, *, before: Snapshot | None = None) -> None:
        chance = random.Random(f"life {seed} {before is not None}")
        self.chance = chance
        self.loop = VirtualLoop(before.now if before is not None else _BEGIN)
        self.loop.at_rest = self._at_rest
        self.world = before.world.copy() if before is not None else World()
        self.scripted = ClosedEngine(seed)
        folder.mkdir()
        if before is not None:
            (folder / "journal.sqlite3").write_bytes(before.journal)
            (folder / "journal.head").write_bytes(before.head)
        self.tap = Tap(folder, clock=self.loop.time)
        self.tap.committed = self._committed
        self.answered = {
            (record.path, record.number) for run in self.tap.runs() for record in self.tap.calls(run.id) if record.done
        }
        levers = tools(self.world)
        super().__init__(
            engine=self._engine,
            journal=self.tap,
            policy=Permissive(),
            folder=folder / "runs",
            agents=AGENTS,
            tools={lever.name: lever for lever in levers},
            approver=Absent(),
            store=self.world,
            clock=self.loop.time,
            random=chance.random,
        )
        places = random.Random(seed)
        self.watched = {"think": Watched(places.choice((1, 1, 2, 3)))}
        self.watched |= {lever.name: Watched(lever.traits.parallel) for lever in levers}
        self._limits = {**self.watched}
        self.known: dict[str, Entry] = {}
        self.alive: set[str] = set()
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.started = set(before.started) if before is not None else set[tuple[str, str, int]]()
        self.stopped_for = 0.0
        self.commits = 0
        self.snapshot: Snapshot | None = None
        self._late = False
        self.listen(self._heard)

    async def _engine(self) -> ScriptedEngine:
        return self.scripted

    # -- what happens

    def launch(self, entry: Entry, code: AgentCode, arguments: tuple[object, ...], context: Context) -> Child:
        self.known[entry.pid] = entry
        return super().launch(entry, code, arguments, context)

    def _heard(self, event: KernelEvent | Token | Notice) -> None:
        match event:
            case ProcessChanged(pid=pid, state=state):
                if state in _ENDED:
                    self.alive.discard(pid)
                    self.ended[pid] = self.loop.now
                    orphans = [one for one in self.alive if one.startswith(f"{pid}.")]
                    assert not orphans, f"{pid} has ended and left {orphans}"
                else:
                    self.alive.add(pid)
                    self.began.setdefault(pid, self.loop.now)
            case CallStarted():
                assert event.pid in self.alive, f"{event.pid} has ended and makes a call"
                self.started.add((event.pid, event.path, event.number))
                assert (event.path, event.number) not in self.answered, "a call was made that is answered already"
            case _:
                pass

    def _committed(self) -> None:
        """Each commit is equally likely to be the last that a kill leaves; half the time the world went on a bit."""
        if self._late and self.snapshot is not None:
            self.snapshot = replace(self.snapshot, world=self.world.copy(), started=set(self.started))
        self._late = False
        self.commits += 1
        if self.chance.random() < 1 / self.commits:
            journal, head = self.tap.image()
            self.snapshot = Snapshot(journal, head, self.world.copy(), set(self.started), self.loop.now)
            self._late = self.chance.random() < 0.5

    def _at_rest(self) -> None:
        for limit in self.watched.values():
            limit.at_rest()

    # -- somebody who sends signals

    async def disturb(self) -> None:
        """Send some signals at some times to some processes; whatever was stopped goes on some time."""
        for _ in range(self.chance.choice((0, 0, 1, 2, 4))):
            await asyncio.sleep(self.chance.choice((0, 0.25, 0.5, 1, 3, 7)))
            entries = self.entries()
            if not entries:
                return
            entry = self.chance.choice(entries)
            signal = self.chance.choice(("stop", "stop", "continue", "interrupt", "interrupt", "kill"))
            if signal == "kill" and self.chance.random() < 0.5:
                continue
            control.send_signal(self, entry.pid, signal)
            if signal == "stop":
                seconds = self.chance.choice((0, 1, 10))
                self.stopped_for += seconds
                asyncio.get_running_loop().call_later(seconds, self._go_on, entry.pid)

    def _go_on(self, pid: str) -> None:
        with suppress(NoSuchProcess):
            control.send_signal(self, pid, "continue")

    # -- from its start to its end

    def outcome(self, task: Task | None, *, disturbed: bool) -> Json:
        """Start a run, or go on with the one that there is; what came of it."""

        async def live() -> Json:
            child = self.start(task) if task is not None else self.resume(self.tap.runs()[0].id)
            somebody = asyncio.create_task(self.disturb()) if disturbed else None
            try:
                async with asyncio.timeout(_AFTER_ALL):
                    result = ["result", await child.result()]
            except TimeoutError as error:
                raise Deadlock("a run does not end") from error
            except LlmosError as error:
                result = ["error", type(error).__name__, error.message]
            if somebody is not None:
                somebody.cancel()
            await asyncio.sleep(20)  # whatever was left behind shows itself
            return result

        return self._run(live())

    def _run(self, work: Any) -> Any:  # noqa: ANN401
        try:
            return self.loop.run_until_complete(work)
        finally:
            self.loop.at_rest = lambda: None

    def replayed(self) -> Json:
        """The run's result again, from the journal alone."""
        return self._run(self.replay(self.tap.runs()[0].id))

    def check(self) -> None:
        """Everything that must hold when a run is over."""
        assert not self.entries(), "a zombie in the table"
        assert not self.alive, "a process that never ended"
        for entry in self.known.values():
            assert entry.state in _ENDED, entry.state
            assert entry.task is not None
            assert entry.task.done(), f"{entry.pid} still runs"
        left = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        assert not left, f"tasks were left behind: {left}"
        run = self.tap.runs()[0]
        assert run.state in _ENDED
        assert all(state in _ENDED for _, _, _, state, _, _ in self.tap.processes(run.id))
        assert all(limit.running == limit.waiting == 0 for limit in self.watched.values()), "a place was not left"
        assert self.scripted.active == 0
        self._check_answers(run.id)
        for entry in self.known.values():
            self._check_budget(entry)
        assert self.tap.audit() is None

    def _check_answers(self, run: str) -> None:
        """Every think has one answer; nothing was done twice, and nothing that is entered as done is missing."""
        asked = Counter([one.id for one in self.scripted.requests] + [one.id for one in self.scripted.score_requests])
        assert all(count == 1 for count in asked.values()), "a think was asked twice"
        assert all(count == 1 for count in self.world.called.values()), "an effect was carried out twice"
        for record in self.tap.calls(run):
            place = f"{run}:{record.path}:{record.number}"
            if not record.done or record.failed or (record.path, record.number) in self.answered:
                continue
            if record.kind == "think":
                assert self.scripted.finished[place] == 1, f"the think {place} has no answer"
            if record.kind == "act" and "look" not in record.arguments:
                assert place in self.world.done, f"the effect {place} was lost"

    def _check_budget(self, entry: Entry) -> None:
        bounds, pids = entry.meter.budget, _family(entry)
        if bounds.steps is not None:
            made = sum(pid in pids for pid, _, _ in self.started)
            assert made <= bounds.steps, f"{entry.pid} made {made} of {bounds.steps} steps"
        if bounds.calls is not None:
            paths = {one.path for one in self.known.values() if one.pid in pids}
            keys = [key for key in {*self.world.called, *self.world.done} if _path(key) in paths]
            assert len(keys) <= bounds.calls, f"{entry.pid} made {len(keys)} of {bounds.calls} calls"
        if bounds.seconds is not None and not _asks(entry):
            lived = self.ended[entry.pid] - self.began[entry.pid]
            assert lived <= bounds.seconds + self.stopped_for + 1e-6, f"{entry.pid} lived for {lived:g} s"
        if bounds.deadline is not None:
            last = max(self.began[entry.pid], bounds.deadline) + self.stopped_for
            assert self.ended[entry.pid] <= last + 1e-6, f"{entry.pid} missed its deadline"
        if bounds.tokens is not None:
            # the thinks that had begun are finished
            assert entry.meter.used["tokens"] <= bounds.tokens + 3 * 400

    def end(self) -> None:
        self.tap.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.close()


def _family(entry: Entry) -> set[str]:
    return {entry.pid}.union(*(_family(child.entry) for child in entry.children))


def _asks(entry: Entry) -> bool:
    return bool(entry.meter.used["questions"])


def _path(key: str) -> str:
    """The process's path in an idempotency key, which may name a branch."""
    return key.split(":")[1].partition("~")[0]


# -- one seed


def simulate(seed: int, folder: Path) -> Counter[str]:
    """One seed: a life, another from where it could have been cut, replays of both. Returns what it came to.

    Raises:
        AssertionError: Something does not hold.
    """
    chance = random.Random(seed)
    wild = chance.random() < 0.6
    plan = program(chance, wild=wild)
    bounds = Budget(**plan["budget"]) if wild else Budget()
    task = Task(agent="actor", arguments=(plan,), words=("go",), workspace=str(folder), budget=bounds)
    seen: Counter[str] = Counter()
    first = Life(seed, folder / "first")
    try:
        before = first.outcome(task, disturbed=wild)
        first.check()
        snapshot = first.snapshot
        _count(seen, first, before)
        _replay(first, before)
    finally:
        first.end()
    assert snapshot is not None
    second = Life(seed, folder / "second", before=snapshot)
    try:
        if second.tap.runs()[0].state != "running":
            return seen
        seen["cut"] += 1
        after = second.outcome(None, disturbed=False)
        second.check()
        assert after[:2] != ["error", "JournalMismatch"], after
        if not wild:
            assert after == before, "a run that was cut and resumed came out differently"
        _replay(second, after)
    finally:
        second.end()
    return seen


def _replay(life: Life, outcome: Json) -> None:
    if outcome[0] == "result":
        assert life.replayed() == outcome[1], "the replay came out differently"


def _count(seen: Counter[str], life: Life, outcome: Json) -> None:
    seen[" ".join(outcome[:2]) if outcome[0] == "error" else "result"] += 1
    seen["processes"] += len(life.known)
    seen["calls"] += len(life.started)
    seen["waited"] += sum(limit.longest > 1 for limit in life.watched.values())
    seen["commits"] += life.commits
    assert not math.isnan(life.loop.now)
