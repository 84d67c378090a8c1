"""The router: who is to do a task, how sure that is, and why; and an agent that has them do it.

The words carry the weight (see `llmos.agents.routing`); the model is asked where they leave it open, and the user where
that does not settle it. Documentation: docs/routing.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from llmos.agents import microcode
from llmos.agents.answering import answer
from llmos.agents.asking import few_shot, shares_of
from llmos.agents.calibration import Thresholds, decide
from llmos.agents.knowledge import knowledge
from llmos.agents.prompts import prompts
from llmos.agents.routing import Weighed, judged, nearest, sayings_of, spread, tools_for, weigh, weights
from llmos.agents.shortlist import ANSWER, Scored
from llmos.agents.structure import own_words
from llmos.agents.ways import RETRIEVE, Way, WayKind, given, ways
from llmos.errors import BadArguments, BudgetExceeded, NobodyThere
from llmos.events import Notice
from llmos.kernel.process import Process
from llmos.messages import Context, Microcode

SURE = 0.85
"""From this share on the model is not asked who is to do a task."""

SURE_ENOUGH = 0.4
"""Below this confidence the user is asked, or the manager takes the task."""

MANY = 16
"""With more ways than this, agents are compared by meaning too, where that is possible; before microcode is asked,
always."""

NEAR = 4
"""A model without microcode is asked about so many ways at most."""

SHOWN = 12
"""And one with it: what it was trained on."""

MICROCODE = 0.5
"""What the log-probabilities of microcode weigh, measured on requests that words leave open; those of others weigh as
`routes.json` says."""

DEFAULT = "manager"
"""Who takes a task when nobody can say who should."""

_THRESHOLDS = Thresholds(accept=SURE, vote=SURE_ENOUGH, escalate=SURE_ENOUGH)
_SHOWN = 4
_WORTH = 0.1


@dataclass(frozen=True, slots=True)
class Route:
    """Who is to do a task.

    Attributes:
        choice: The name of the tool or agent, `answer` or `retrieve`.
        kind: Which of them it is.
        shares: The probability of every candidate, by title, the likeliest first; they add up to 1.
        confidence: The probability that the choice is right: its share (for a tool that of all tools, since whoever
            calls it chooses again), or 1 where the user decided or there was only one.
        why: In words.
        by: What decided: the words, the model besides, the user, there being only one, or the rule for the unsure.
    """

    choice: str
    kind: WayKind
    shares: Mapping[str, float]
    confidence: float
    why: str
    by: Literal["words", "model", "user", "only", "default"]

    @property
    def title(self) -> str:
        """The choice, for people."""
        return Way(self.kind, self.choice).title

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Route:
        """A route from JSON data, which keeps no order."""
        values = dict(data)
        return cls(shares=_ordered(values.pop("shares")), **values)


async def route(
    process: Process,
    task: str,
    candidates: Sequence[Way] | Mapping[str, str],
    *,
    ask: bool = False,
) -> Route:
    """Decide who is to do a task. Journaled: a resumed run has the same route.

    Args:
        process: Whose decision it is; the model's part runs beside its context.
        task: In the user's words. What is quoted in it, or stands below it, decides nothing.
        candidates: Ways, or agents by name with what each is for. Tools among them must be the process's.
        ask: Put it to the user where it is not sure; otherwise, and where nobody is there, the manager takes it.

    Raises:
        BadArguments: There is no candidate, or a tool that the process does not have.
        BudgetExceeded, Interrupted, EngineError: As of the system calls that it makes.
    """
    choices = given(candidates)
    if not choices:
        raise BadArguments("There is nobody who could do the task.", hint="Give at least one agent or tool.")
    devices = {way.name: process.device(way.name) for way in choices if way.kind == "tool"}
    if len(choices) == 1:
        only = choices[0]
        return _entered(process, Route(only.name, only.kind, {only.title: 1.0}, 1.0, "there is nobody else", "only"))
    meanings = await _meanings(process, task, choices) if len(choices) - len(devices) > MANY else None
    found = weigh(task, choices, devices, meanings)
    by: Literal["words", "model"] = "words"
    if decide(found[0].share, _THRESHOLDS) != "accept" and len(found) > 1:
        code = await microcode.forms(process)
        if code is not None and meanings is None:
            found = weigh(task, choices, devices, await _meanings(process, task, choices))
        found, by = await _with_model(process, code, task, found), "model"
    tools = tools_for(task, choices, devices)
    decided = _settled(found, _shares(found, tools), by)
    if decide(decided.confidence, _THRESHOLDS) == "ask":
        decided = await _unsure(process, decided, choices, ask=ask)
    return _entered(process, decided)


def _settled(found: Sequence[Weighed], shares: Mapping[str, float], by: Literal["words", "model"]) -> Route:
    best = found[0]
    return Route(best.way.name, best.way.kind, shares, best.share, why(found), by)


def _shares(found: Sequence[Weighed], tools: Sequence[Scored]) -> dict[str, float]:
    """The probability of every candidate, by title; that of the tools is spread among them."""
    shares = {one.way.title: one.share for one in found if one.way.kind != "tool"}
    of_tools = sum(one.share for one in found if one.way.kind == "tool")
    shares |= {Way("tool", name).title: share for name, share in spread(of_tools, tools).items()}
    return _ordered(shares)


def _ordered(shares: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _entered(process: Process, found: Route) -> Route:
    """The route, journaled and told; the journal's own where it has one."""

    def tell() -> dict[str, Any]:
        process.system.emit(Notice(text=f"→ {found.title} ({found.confidence:.2f})"))
        return asdict(found)

    return Route.read(process.note("route", tell, title=f"→ {found.title} ({found.confidence:.2f})"))


# -- by meaning


async def _meanings(process: Process, task: str, choices: Sequence[Way]) -> dict[str, float] | None:
    """How near in meaning each way but the tools is; None where nobody can tell."""
    return await process.compare(own_words(task), sayings_of(choices))


# -- the model


async def _with_model(process: Process, code: Microcode | None, task: str, found: Sequence[Weighed]) -> list[Weighed]:
    """The ways once the model has chosen among those that are near; the others keep their shares."""
    if code is not None:
        ways = {one.way.title: one.way.description for one in nearest(found, SHOWN)}
        return judged(found, await microcode.whom(process, code, ways, own_words(task)), MICROCODE)
    near = [one.way for one in nearest(found, NEAR)]
    titles = [way.title for way in near]
    shares = await shares_of(process, context_for(near), own_words(task), titles, baseline=prompts().blank)
    return judged(found, dict(zip(titles, shares, strict=True)), weights().model)


def context_for(near: Sequence[Way]) -> Context:
    """What the model sees before it chooses: what each way is for, and tasks that were given to it."""
    listed = "\n".join(f"{way.title}: {way.description}" for way in near)
    return few_shot(str(knowledge()["choose"]).format(ways=listed).strip(), [(way.title, way.examples) for way in near])


# -- the user


async def _unsure(process: Process, found: Route, choices: Sequence[Way], *, ask: bool) -> Route:
    """Ask who is to do it; where nobody says, the manager does, or whoever is likeliest."""
    if ask:
        listed = list(found.shares)[:_SHOWN]
        lines = "\n".join(f"  {number}. {title} ({found.shares[title]:.2f})" for number, title in enumerate(listed, 1))
        try:
            said = await process.ask(f"I am not sure who should do this:\n{lines}\nWhich one? (a number or a name)")
        except (NobodyThere, BudgetExceeded):
            said = ""
        if (meant := meant_by(said, listed, choices)) is not None:
            return replace(found, choice=meant.name, kind=meant.kind, confidence=1.0, why="you said so", by="user")
    manager = next((way for way in choices if way.kind == "agent" and way.name == DEFAULT), None)
    if manager is None or manager.name == found.choice:
        return found
    why = f"not sure enough: {found.title} would be likeliest with {found.confidence:.2f}"
    share = found.shares[manager.title]
    return replace(found, choice=manager.name, kind=manager.kind, confidence=share, why=why, by="default")


def meant_by(said: str, listed: Sequence[str], choices: Sequence[Way]) -> Way | None:
    """The way that an answer names, by its number or name; None if it names none."""
    words = said.strip().strip(".!").casefold()
    if words.isdigit() and 1 <= int(words) <= len(listed):
        words = listed[int(words) - 1].casefold()
    named = [way for way in choices if words in (way.title.casefold(), way.name.casefold())]
    return named[0] if named else None


# -- why


_REASONS: Mapping[str, str] = {
    "addressed": "it is named",
    "example": "like its examples",
    "words": "words in common",
    "covered": "words in common",
    "home": "its kind of file",
    "web": "a web address",
    "alone": "nobody else fits a part",
    "ahead": "nearer than the others",
    "similar": "near in meaning",
    "three": "three things to do or more",
    "more": "many things to do",
    "items": "a list of things to do",
    "together": "parts are put together",
    "parallel": "parts for several, or at once",
    "ordered": "parts in an order",
    "objects": "several files",
    "experts": "parts for different agents",
    "length": "a few steps",
    "gap": "a tool fits",
    "ready": "all that the tool needs is there",
    "one": "one thing to do",
    "opener": "talk",
    "creative": "something to make up",
    "question": "a question of knowledge",
    "own": "about yourself",
    "past": "what was said before",
}


def why(found: Sequence[Weighed]) -> str:
    """What speaks for the best way, as against the next one."""
    known = weights().features
    best = found[0]
    gains = sorted(
        ((known.get(name, 0.0) * value, name) for name, value in best.features.items()), key=lambda one: -one[0]
    )
    said = [_reason(name, best.features[name]) for gain, name in gains if gain > 0.3]
    return ", ".join(list(dict.fromkeys(filter(None, said)))[:3]) or "nothing else fits better"


def _reason(feature: str, value: float) -> str:
    if feature.endswith("_gap") and value < 0:
        return "no tool fits"
    return _REASONS.get(feature.partition("_")[2] or feature, "") if value > 0 else ""


# -- the agent


class Router:
    """An agent that has the right one do the task."""

    @property
    def description(self) -> str:
        """What it is for."""
        return "Finds out who should do a task (itself, a tool, memory, an agent) and has them do it."

    async def __call__(self, process: Process, task: str) -> Any:  # noqa: ANN401  # whatever the one who does it returns
        """Have the right one do a task.

        Args:
            process: The process that runs it; who does the task begins with its context.
            task: The user's words.

        Raises:
            LlmosError: That of the one who did it.
        """
        found = await route(process, task, ways(process), ask=True)
        if found.kind == "retrieve":
            cited = await answer(process, task)
            if cited is not None:
                return cited.shown()
            other = _next_best(found)
            if other is None:
                return "I remember nothing about this."
            found = other
        return await _hand_over(process, found, task)


router = Router()


async def routed(process: Process, task: str) -> dict[str, Any]:
    """Only say who would do a task; nobody is asked, and nothing is done."""
    return asdict(await route(process, task, ways(process)))


async def _hand_over(process: Process, found: Route, task: str) -> Any:  # noqa: ANN401
    agents = process.system.agents
    name = found.choice if found.kind == "agent" else "assistant"
    if name not in agents:  # a system that was made without it
        return (await process.think(task)).text
    return await process.wait(await process.spawn(name, task, forked=True))


def _next_best(found: Route) -> Route | None:
    """Who is to do it when memory has nothing; None where only talk is left, which would be made up."""
    for title, share in found.shares.items():
        if share < _WORTH or title == ANSWER:
            return None
        if title == RETRIEVE:
            continue
        kind, _, name = title.rpartition(" ")
        return replace(found, choice=name, kind="tool" if kind else "agent", confidence=share)
    return None
