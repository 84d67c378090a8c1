"""The default agent: think and act over tools until the request is answered.

A request is cut into steps. For each step the tool is found by retrieval and scoring, and the model's own choice counts
as much as it is sure of it; the arguments are grounded in the user's words, so that nothing can be invented; what a
tool says is quoted rather than retold. A question that memory can answer is answered from there, with sources. Without
a tool that fits, the model answers. Whatever is not sure is said to be so, or asked. Everything it does is a system
call: a run resumes and replays. Documentation: docs/assistant.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmos.agents import answering, answers, filling, handing, jobs, microcode
from llmos.agents.asking import few_shot, logs_of, shares_of
from llmos.agents.citing import SOURCES, uncited
from llmos.agents.grounding import Candidate, Grounded, Request
from llmos.agents.joining import joined, sayings
from llmos.agents.prompts import prompts
from llmos.agents.records import Earlier, chosen
from llmos.agents.shortlist import ANSWER, Scored, examples_of, probabilities, roles_of, shortlist, weights
from llmos.agents.skills import Skilled, with_skills
from llmos.agents.steps import steps
from llmos.errors import BadArguments, Denied, NobodyThere
from llmos.kernel.calls import Provenance, Result
from llmos.kernel.process import Process
from llmos.kernel.protocols import Device
from llmos.messages import Context, Message, Microcode, Regex, Sampling, ToolCall

MAX_STEPS = 6
"""More steps than this are not begun."""

ATTEMPTS = 3
"""How often a tool is tried with other values that the words allow."""

SURE = 0.9
"""Above this the model is not asked which tool to use: it could not change the choice."""

UNSURE = 0.5
"""Below this a tool that changes something is not called."""

CLOSE = 1.0
"""Values whose weights are nearer than this are put to the model."""

VERY_SURE = 0.99
"""Above this microcode is not asked."""

UNCLEAR = 0.5
"""From this share of `jobs.ASK` on what is missing is asked for rather than looked for in the words."""

DEED = 0.6
"""From this share of `act` on a request for which there is no tool is declined."""

MAX_ANSWER = 256
MAX_TEXT = 400
_CHAT = Sampling(temperature=0.0, repeat_penalty=1.1, seed=0)
_REMEMBER = re.compile(r"^\W*(?:please\s+)?(?:remember|keep in mind|note)(?:\s+that\b|\s*:)\s*\S", re.I)
_HIDDEN = frozenset({"ask_user", "chart", "compute", "read_skill"})
_DOUBT = 0.4


def is_offered(tool: str) -> bool:
    """Whether a tool stands to choice: not what agents use of themselves, nor the browser, which is the operator's."""
    return tool not in _HIDDEN and not tool.startswith("browser_")


async def assistant(
    process: Process,
    task: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    instructions: str = "",
    skills: Sequence[str] | None = None,
) -> str:
    """Do what the user asks, with the tools that the system has.

    Args:
        process: The process that runs it.
        task: The user's words.
        inputs: `earlier`: reports on what was done before, whose values may be spoken of.
        instructions: What the model is told of its role where it answers itself; empty for that of an assistant.
        skills: Names of the skills that it may use; None for all that there are.

    Raises:
        BudgetExceeded, LoopDetected, Interrupted, EngineError: As of the system calls that it makes.
    """
    if _REMEMBER.match(task):
        await process.remember(task)
        return "I keep that in mind."
    said = await handing.handed_on(process, task)
    if said is not None:
        process.hear(Message("user", task), Message("assistant", said))
        return said
    devices = {name: device for name, device in process.entry.devices.items() if is_offered(name)}
    skilled = await with_skills(process, instructions or prompts().chat, task, skills)
    code = await microcode.forms(process)
    work = _Work(process, devices, process.context.messages, skilled, code, _reported(process, inputs or {}))
    process.hear(Message("user", task))
    for step in steps(task, devices)[:MAX_STEPS]:
        if not await work.do(step):
            break
    answer = work.answer()
    process.hear(Message("assistant", answer))
    return answer


def _reported(process: Process, inputs: Mapping[str, Any]) -> list[Earlier]:
    """What was done before, as steps of this request."""
    reports: Sequence[Mapping[str, Any]] = inputs.get("earlier", ())
    return [
        Earlier(f"{one['agent']} {one['task_id']}", str(one["text"]), one["value"], process.entry.label)
        for one in reports
    ]


@dataclass(slots=True)
class _Done:
    """What a step came to: what to tell the user, and whether a later step made it a means only.

    Attributes:
        title: The call that it came from.
    """

    text: str
    title: str = ""
    used: bool = False


@dataclass(slots=True)
class _Work:
    """One request being worked on."""

    process: Process
    devices: Mapping[str, Device]
    before: tuple[Message, ...]
    skilled: Skilled
    code: Microcode | None
    earlier: list[Earlier] = field(default_factory=list[Earlier])
    told: list[_Done] = field(default_factory=list[_Done])
    done: list[jobs.Done] = field(default_factory=list[jobs.Done])
    asked: str = ""
    """The question that memory was asked last."""
    unclear: bool = False
    """The request does not say what the tool needs, as microcode finds."""
    absent: bool = False
    """There are documents, and the question's answer is not in them."""

    def answer(self) -> str:
        """What all steps came to."""
        return "\n\n".join(one.text for one in self.told if not one.used) or "There is nothing to answer."

    async def do(self, step: Request) -> bool:
        """Do one step; False if the next ones would have no ground."""
        step = replace(step, earlier=tuple(self.earlier))
        if self.told and self.told[-1].title and answers.retells(step.words):  # what was read a step before
            self.told[-1].used = True
            self.told.append(_Done(await self._retold(step, self.earlier[-1].text)))
            return True
        choices = shortlist(self.devices, step)
        if await self._from_memory(step, choices):
            return True
        choice = await self._choose(step, choices)
        if choice.name == ANSWER:
            self.told.append(_Done(await self._talk(step)))
            return True
        try:
            return await self._act(choice, step)
        except Denied as error:
            self.told.append(_Done(f"I did not do it. {error.message}"))
            return False

    # -- which tool

    async def _from_memory(self, step: Request, choices: Sequence[Scored]) -> bool:
        """Answer a question from what is remembered; False if memory is not meant, or has nothing on it."""
        words, named = step.words, answering.names_documents(step.words)
        tool = choices[0].name != ANSWER
        # sure by the score, or because it takes what the words name: a file, an address, a date, a sum
        sure = probabilities(choices)[0] >= SURE or choices[0].features.get("strong", 0.0) > 0
        asked = answering.asks(words) or (named and not (tool and self._changes(choices[0].name)))
        if not asked or (tool and sure and not named):
            return False
        before = self.asked or next((one.content for one in reversed(self.before) if one.role == "user"), "")
        self.asked = words
        cited = await answering.answer(self.process, words, before=before, certain=tool and not named)
        if cited is not None:
            self.told.append(_Done(cited.shown()))
            self.earlier.append(Earlier("your documents", cited.said, cited.said, self.process.entry.label))
            return True
        self.absent = (named or not tool) and await answering.holds(self.process)
        if self.absent and answering.names_texts(words):
            self.told.append(_Done(answering.NOT_THERE))
            return True
        return False

    async def _choose(self, step: Request, choices: list[Scored]) -> Scored:
        """The tool for a step, or `ANSWER`: what the words say, and what the model says where they leave it open."""
        sure = probabilities(choices)[0]
        self.unclear = False
        if self.code is not None and sure < VERY_SURE:
            choices = await self._ask_microcode(self.code, step, choices)
        elif self.code is None and sure < SURE:
            choices = await self._ask_model(step, choices)
        best = choices[0]
        if best.name != ANSWER and self._changes(best.name) and probabilities(choices)[0] < UNSURE:
            return next(one for one in choices if one.name == ANSWER)
        return best

    async def _ask_microcode(self, code: Microcode, step: Request, choices: Sequence[Scored]) -> list[Scored]:
        """The likeliest choices by words and meaning, with what microcode says of them, as shares."""
        meant = await self.process.compare(step.words, {name: sayings_of(one) for name, one in self.devices.items()})
        near = nearest_to_microcode(choices, meant)
        specs = [self.devices[one.name].spec for one in near if one.name != ANSWER]
        said = await microcode.choose(self.process, code, specs, step.words, self.done)
        shares = joined(near, meant, said)
        self.unclear = shares[jobs.ASK] >= UNCLEAR
        if self.unclear:  # a tool is meant, and what it needs is asked for
            near = [one for one in near if one.name != ANSWER]
        logs = logs_of([shares[one.name] for one in near])
        scored = [replace(one, score=log) for one, log in zip(near, logs, strict=True)]
        return sorted(scored, key=lambda one: list(shares).index(one.name))

    def _changes(self, tool: str) -> bool:
        return self.devices[tool].traits.effect not in ("pure", "reads")

    async def _ask_model(self, step: Request, choices: Sequence[Scored]) -> list[Scored]:
        """The few choices that come near the best one, with what the model says of them, its bias for a name taken
        out."""
        near = nearest(choices, probabilities(choices))
        names = [one.name for one in near]
        context = choosing_context([self.devices[name] for name in names if name != ANSWER])
        shares = await shares_of(self.process, context, step.words, names, baseline=prompts().blank)
        return _weighed(near, logs_of(shares), weights().get("model", 0.0))

    # -- acting

    async def _act(self, choice: Scored, step: Request) -> bool:
        device = self.devices[choice.name]
        grounded = await self._complete(choice.name, await self._read_out(choice, step), step)
        if grounded.missing:
            return await self._lacking(choice.name, grounded, step)
        arguments = {name: await self._pick(choice.name, name, found, step) for name, found in grounded.values.items()}
        for attempt in range(ATTEMPTS):
            result = await self._call(choice.name, arguments)
            if not (result.failed or result.retry):
                await self._tell(choice.name, device, arguments, result, step)
                return True
            other = _others(arguments, grounded, device, attempt)
            if other is None:
                self.told.append(_Done(f"That did not work: {result.text}"))
                return False
            arguments = other
        return False

    async def _call(self, tool: str, arguments: Mapping[str, Candidate]) -> Result:
        values = {name: one.value for name, one in arguments.items()}
        self.process.hear(Message("assistant", tool_calls=(ToolCall(tool, values),)))
        try:
            result = await self.process.act(
                tool, values, provenance={name: one.provenance for name, one in arguments.items()}
            )
        except BadArguments as error:
            result = Result(error.message, retry=True)
        self.process.hear(Message("tool", result.text, name=tool))
        return result

    async def _tell(
        self, tool: str, device: Device, arguments: Mapping[str, Candidate], result: Result, step: Request
    ) -> None:
        """Keep what a call gave for later steps, and what the user is told of it."""
        title = f"{tool} {' '.join(str(one.value) for one in arguments.values())}"[:100]
        means = {one.provenance.source for one in arguments.values() if one.provenance.origin == "record"}
        for one in self.told:
            one.used = one.used or (bool(one.title) and one.title in means)
        done = jobs.Done(tool, {name: one.value for name, one in arguments.items()}, result.text)
        if self.done and self.told and self.told[-1].title and _in_another_way(self.done[-1], done, device):
            self.told[-1].used = True
        self.earlier.append(Earlier(title, result.text, result.value, result.label))
        self.done.append(done)
        text = result.text
        if "path" in roles_of(device).values() and device.traits.effect == "reads":
            spoken = {str(one.value) for one in arguments.values()}
            text = await self._from_text(step, result.text, spoken)
        self.told.append(_Done(text, title))

    async def _retold(self, step: Request, text: str) -> str:
        """A text as the request wants it told; where the model is small, what it is about in its own sentences."""
        if answers.wants_gist(step.words) and not await answering.writes(self.process):
            return f"{answers.gist_of(step.words, text)}\n(in the words of the text)"
        return await self._talk(step, text)

    async def _from_text(self, step: Request, text: str, spoken: set[str]) -> str:
        """What a text says on a request: the lines that answer it, a summary where one is asked for, or all of it."""
        if answers.wants_retelling(step.words):
            return await self._retold(step, text)
        lines = answers.best_lines(step.words, text, spoken)
        if 1 < len(lines) <= 4:
            shares = await shares_of(
                self.process, Context(), prompts().about.format(text=text[:3000], request=step.words), lines
            )
            best = max(shares)
            lines = [line for line, share in zip(lines, shares, strict=True) if share >= best / 3]
        if not lines:
            return text
        return "\n".join(lines) + f"\n({', '.join(sorted(spoken))})"

    # -- arguments

    async def _read_out(self, choice: Scored, step: Request) -> Grounded:
        """What the words say of a tool's arguments, by the rules and by microcode."""
        device = self.devices[choice.name]
        roles = roles_of(device)
        unclear = self.unclear and bool(choice.grounded.missing)
        if self.code is None or unclear or not filling.is_open(roles, choice.grounded):
            return choice.grounded
        filled = await microcode.fill(self.process, self.code, device.spec, step.words, self.done)
        return filling.joined(device.spec, roles, choice.grounded, filled, step)

    async def _complete(self, tool: str, grounded: Grounded, step: Request) -> Grounded:
        """Look for what is missing: a file in a listing, a text that the model may write."""
        values, missing = dict(grounded.values), list(grounded.missing)
        device = self.devices[tool]
        for name in grounded.missing:
            if name in grounded.findable and (found := await self._found(name, step)):
                values[name] = (found,)
            elif name not in device.traits.steers and self._free(device, name):
                values[name] = (await self._written(device, name, step),)
            else:
                continue
            missing.remove(name)
        return Grounded(values, tuple(missing))

    @staticmethod
    def _free(device: Device, name: str) -> bool:
        """Whether a parameter is text of any kind, that decides nothing."""
        return roles_of(device).get(name) in ("free", "content") and device.traits.effect != "pure"

    async def _found(self, name: str, step: Request) -> Candidate | None:
        """A record that the words describe, in a listing made for that."""
        lister = self._lister(name)
        if lister is None:
            return None
        result = await self._call(lister, {})
        listing = Earlier(lister, result.text, result.value, result.label)
        found = chosen(step.words, [listing], name)
        return Candidate(found[0].value, found[0].provenance) if found else None

    def _lister(self, name: str) -> str | None:
        """A tool that lists what a parameter could be: one that reads, needs no argument, and is named so."""
        for tool, device in sorted(self.devices.items()):
            if (
                tool.startswith("list")
                and device.traits.effect == "reads"
                and not device.spec.parameters.get("required")
            ):
                return tool if name in ("path", "file", "filename") else None
        return None

    async def _written(self, device: Device, name: str, step: Request) -> Candidate:
        """A text that the model writes, bounded, after two examples of the tool."""
        context = Context()
        for request, values in examples_of(device)[:2]:
            if name in values:
                context = context.add(Message("user", f"{request}\n{name}:"), Message("assistant", str(values[name])))
        bound = Regex(rf"[^\x00]{{1,{MAX_TEXT}}}")
        thought = await self.process.aside(context).think(
            f"{step.words}\n{name}:", constraint=bound, sampling=_CHAT, max_tokens=MAX_ANSWER // 2
        )
        return Candidate(thought.text.strip(), Provenance("model", self.process.entry.label), -2.0)

    async def _pick(self, tool: str, name: str, found: Sequence[Candidate], step: Request) -> Candidate:
        """The value of an argument: the one that fits best, or the model's choice among those that fit as well."""
        near = [one for one in found if found[0].weight - one.weight < CLOSE]
        texts = list(dict.fromkeys(str(one.value) for one in near if str(one.value)))
        if len(texts) < 2:
            return found[0]
        schema: Mapping[str, Any] = self.devices[tool].spec.parameters["properties"][name]
        prompt = prompts().value.format(request=step.words, name=name, note=schema.get("description", name))
        shares = await shares_of(self.process, _value_examples(self.devices[tool], name, schema), prompt, texts)
        log = dict(zip(texts, logs_of(shares), strict=True))
        weight = weights().get("model", 0.0)
        return max(near, key=lambda one: one.weight + weight * log.get(str(one.value), -14.0))

    async def _lacking(self, tool: str, grounded: Grounded, step: Request) -> bool:
        """Ask for what is missing, once; say so where nobody can answer."""
        name = grounded.missing[0]
        schema: Mapping[str, Any] = self.devices[tool].spec.parameters["properties"][name]
        note = schema.get("description", name)
        try:
            said = await self.process.ask(f"I would use {tool}. What is {name} ({note})?")
        except NobodyThere:
            self.told.append(_Done(f"I am not sure what you mean: {tool} needs {name} ({note}). Please say which."))
            return False
        if not said.strip():
            self.told.append(_Done(f"I did nothing: {tool} needs {name} ({note})."))
            return False
        source = Provenance("span", "user", "your answer", 0, len(said))
        values = {**grounded.values, name: (Candidate(said.strip(), source),)}
        rest = Grounded(values, tuple(one for one in grounded.missing if one != name))
        return await self._act(Scored(tool, {}, 0.0, rest), step)

    # -- talking

    async def _talk(self, step: Request, text: str = "") -> str:
        """The model's own answer, with its doubt."""
        prompt = step.words if not text else prompts().about.format(text=text[:6000], request=step.words)
        before = [one for one in self.before if one.role in ("user", "assistant") and one.content]
        given = [one.content for one in self.before if one.role == "system" and one.content]
        if self.code is not None and not text:
            if await self._is_deed(self.code, step.words):
                return prompts().cannot
            if not await self._is_sure(self.code, step.words, before):
                return self._quoted(step) or prompts().unsure
        system = Message("system", "\n\n".join([*given, self.skilled.instructions]))
        aside = self.process.aside(Context(messages=(system, *before)))
        thought = await aside.think(prompt, sampling=_CHAT, max_tokens=MAX_ANSWER)
        said = answers.whole(thought.text.strip(), cut=thought.reason == "length")
        if any(SOURCES.search(one.content) for one in before):
            said = uncited(said)
        if self.code is None and thought.confidence is not None and thought.confidence < _DOUBT:
            if quoted := self._quoted(step):
                return quoted
            said = f"{said}\n(I am not sure of this.)"
        absent, self.absent = self.absent, False
        return f"{answering.NOT_THERE} The model itself says:\n{said}" if absent and not text else said

    async def _is_sure(self, code: Microcode, words: str, before: Sequence[Message]) -> bool:
        """Whether the model may answer from what it knows; what was spoken of before is no question of knowledge."""
        if not answering.asks(words) or answering.speaks_of(words, [one.content for one in before]):
            return True
        return await microcode.knows(self.process, code, words) >= code.thresholds.get("know", 0.5)

    async def _is_deed(self, code: Microcode, words: str) -> bool:
        """Whether something is to be done, rather than said, for which no tool was found."""
        if answers.wants_retelling(words):
            return False
        return (await microcode.whom(self.process, code, jobs.DECISIONS, words))["act"] >= DEED

    def _quoted(self, step: Request) -> str:
        """What the skills that were read say on a request, verbatim; empty where they say nothing on it."""
        for name, text in reversed(self.skilled.texts):
            if lines := answers.best_lines(step.words, text, {name}):
                return "\n".join(lines[:4]) + f"\n(the skill {name})"
        return ""


def _others(
    arguments: Mapping[str, Candidate], grounded: Grounded, device: Device, attempt: int
) -> dict[str, Candidate] | None:
    """Arguments with another value that the words allow in one place, or without one that need not be there."""
    for name, found in grounded.values.items():
        rest = [one for one in found if name in arguments and one.value != arguments[name].value]
        if attempt < len(rest):
            return {**arguments, name: rest[attempt]}
    if device.traits.effect not in ("pure", "reads"):
        return None
    required: Sequence[str] = device.spec.parameters.get("required", ())
    extra = next((name for name in arguments if name not in required), None)
    return {name: one for name, one in arguments.items() if name != extra} if extra is not None else None


def _weighed(near: Sequence[Scored], logs: Sequence[float], weight: float) -> list[Scored]:
    """Choices with a model's log-probabilities, which weigh so much, added; best first."""
    scored = [replace(one, score=one.score + weight * log) for one, log in zip(near, logs, strict=True)]
    return sorted(scored, key=lambda one: (-one.score, one.name))


def _in_another_way(before: jobs.Done, done: jobs.Done, device: Device) -> bool:
    """Whether a call reads the same as the one before and only an option differs: the list again, in another order."""
    if before.name != done.name or device.traits.effect not in ("pure", "reads"):
        return False
    options = {name for name, role in roles_of(device).items() if role in ("enum", "flag")}
    names = before.arguments.keys() | done.arguments.keys()
    apart = {name for name in names if before.arguments.get(name) != done.arguments.get(name)}
    return bool(apart) and apart <= options


def nearest(choices: Sequence[Scored], shares: Sequence[float]) -> list[Scored]:
    """The choices that the model is asked about: the few that come near the best one, and always `ANSWER`."""
    near = [one for one, share in zip(choices, shares, strict=True) if share >= shares[0] / 30][:4]
    return (
        near if any(one.name == ANSWER for one in near) else [*near, next(one for one in choices if one.name == ANSWER)]
    )


def nearest_to_microcode(choices: Sequence[Scored], meant: Mapping[str, float] | None) -> list[Scored]:
    """The choices that microcode is asked about: the best ones by words and by meaning in turn, as many as it was
    trained on, and `ANSWER` last.

    Args:
        choices: Best first by words.
        meant: How near in meaning each tool is; None where nobody can tell.
    """
    by_words = [one for one in choices if one.name != ANSWER]
    by_meaning = sorted(by_words, key=lambda one: -meant.get(one.name, -1.0)) if meant else by_words
    turns = [one for pair in zip(by_words, by_meaning, strict=True) for one in pair]
    tools = list({one.name: one for one in turns}.values())[: microcode.MOST_TOOLS]
    return [*tools, *(one for one in choices if one.name == ANSWER)]


def sayings_of(device: Device) -> tuple[str, ...]:
    """What a request is compared with to see whether it means a tool."""
    return sayings(device.spec.name, device.spec.description, [request for request, _ in examples_of(device)])


def choosing_context(devices: Sequence[Device]) -> Context:
    """What the model sees before it chooses a tool: what there is, and requests that were answered with it."""
    listed = "\n".join(f"{device.spec.name}: {device.spec.description.splitlines()[0]}" for device in devices)
    asked = [(device.spec.name, [request for request, _ in examples_of(device)]) for device in devices]
    return few_shot(prompts().choose.format(tools=listed).strip(), [*asked, (ANSWER, prompts().talk)])


def _value_examples(device: Device, name: str, schema: Mapping[str, Any]) -> Context:
    """Two requests in which the argument was found."""
    context = Context()
    for request, values in examples_of(device)[:2]:
        if name in values:
            asked = prompts().value.format(request=request, name=name, note=schema.get("description", name))
            context = context.add(Message("user", asked), Message("assistant", str(values[name])))
    return context
