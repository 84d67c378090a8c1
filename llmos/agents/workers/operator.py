"""The operator: does tasks on web pages in a browser, says what it did, and takes values from pages for programs.

The task is read into goals (`llmos.agents.operator.instructions`). For each goal the controls that its words may mean
are found and rated by code; where that leaves it open, the model compares them; where neither is sure, a person is
asked. After each action it is checked whether it did what was wanted. What can't be taken back is only ever proposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmos.agents.operator import asserting, extracting
from llmos.agents.operator.hands import TOOLS, Done, Hands, Stuck
from llmos.agents.operator.instructions import Goal, read
from llmos.agents.operator.page import Page, origin_of, plain
from llmos.agents.operator.phrases import Target
from llmos.agents.operator.replaying import PAUSES, NotReplayed, Replay, replayed
from llmos.agents.operator.skills import Skill, data_of, mended
from llmos.agents.operator.skills import read as read_skill
from llmos.agents.operator.work import NotDone, Work
from llmos.agents.plan import Check
from llmos.agents.report import Report, ReportOutcome, Source
from llmos.agents.spans import of_kind
from llmos.agents.verifiers.pages import MOST_SAID, page_shows
from llmos.agents.workers.reporting import as_json, task_id_of
from llmos.agents.workers.worker import Worker
from llmos.errors import BadArguments, Denied, LoopDetected
from llmos.kernel.entry import Profile
from llmos.kernel.process import Process

MAX_STEPS = 40


class Given(BaseModel):
    """What the operator takes besides the task.

    Attributes:
        url: Where it begins; by default an address in the words, or the page that is open already.
        allow: Origins that may be opened besides those of the public internet.
        profile: What the browser remembers under this name from earlier runs, and for later ones.
        headed: The browser has a window.
        max_steps: So many actions at most.
        values: What goes into fields, by their names; a password is best a secret's handle.
        output: JSON schema of what is to be taken from the last page.
        engine: The name of another engine that is asked where this one is not sure.
        keep_open: The browser stays open when the task is done, for the run's next task.
        skill: What was shown for such tasks (`llmos.agents.operator.skills.data_of`): done again in place of reading
            the words.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str = ""
    allow: tuple[str, ...] = ()
    profile: str = ""
    headed: bool = False
    max_steps: int = Field(default=MAX_STEPS, ge=1, le=1000)
    values: dict[str, str] = {}
    output: dict[str, Any] = {}
    engine: str = ""
    keep_open: bool = False
    skill: dict[str, Any] = {}


async def work(process: Process, task: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Does a task on web pages in a browser.

    Args:
        process: The process that runs it.
        task: What is to be done, in words: `Open the second message and click “Archive”`.
        inputs: See `Given`; and see `llmos.agents.workers`.

    Returns:
        A `Report`; its value has the `url` and `title` of the last page, the `steps` that were taken, what the page
        `says` and its `fields` hold at the end, the `choices` that were made, and `output` with `sources` (ref, place,
        value) for each field that was asked for.
    """
    try:
        given = Given.model_validate(inputs or {})
    except ValidationError as error:
        raise BadArguments(f"The operator can't work with these inputs: {error}.") from error
    return as_json(await _Run(process, task, given, task_id_of(inputs)).report())


class _Run:
    """One task."""

    def __init__(self, process: Process, task: str, given: Given, task_id: str) -> None:
        self.process, self.task, self.given, self.id = process, task, given, task_id
        self.hands = Hands(process, most=given.max_steps)
        self.skill = read_skill(given.skill) if given.skill else None
        self.again: Replay | None = None
        self.work = Work(process, self.hands, task, values=given.values, engine=given.engine)

    async def report(self) -> Report:
        problem = ""
        try:
            if self.skill is not None:
                await self._do_again(self.skill)
            else:
                await self.work.do(await self._begin())
            self._see_that_it_came_there()
            await self._see_what_must_hold()
            self._extract()
        except (NotDone, NotReplayed, Stuck, Denied) as error:
            problem = " ".join(filter(None, (error.message, error.hint)))
        finally:
            if not self.given.keep_open and "browser_close" in self.process.entry.devices and self.hands.page.url:
                await self.process.act("browser_close", {})
        return self._told(problem)

    async def _begin(self) -> list[Goal]:
        """Open the page, and read what is to be done there.

        Raises:
            NotDone: There is no page, or the words say nothing that can be done.
        """
        words = asserting.without(self.task)
        goals = list(read(words))
        said = of_kind(words, "url")
        url = self.given.url or (said[0].text if said else "")
        done = await self._opened(url)
        if not done.ok:
            raise NotDone(f"The page could not be opened: {done.text}")
        if goals and goals[0].act == "go" and goals[0].target.url == url:
            del goals[0]
        if not goals and not said and not self.given.output:
            goals = [Goal("click", self.task, 0, Target(self.task, words=tuple(plain(self.task).split())))]
        return goals

    async def _do_again(self, skill: Skill) -> None:
        """Do what was shown, with this time's values.

        Raises:
            NotDone: The page can't be opened.
            NotReplayed: A step could not be done.
        """
        done = await self._opened(self.given.url or skill.url)
        if not done.ok:
            raise NotDone(f"The page could not be opened: {done.text}")
        self.again = await replayed(self.process, self.hands, skill, self.task, engine=self.given.engine)
        self.work.notes += self.again.notes
        self.work.confidence = self.again.confidence
        self.work.unsure = self.again.unsure

    def _see_that_it_came_there(self) -> None:
        """Look whether the page that it ended on is one: where a wall was in the way, a notice is all that came.

        Raises:
            NotDone: It was blocked.
        """
        page = self.hands.page
        blocked = [one for one in page.notices if one.startswith(f"{origin_of(page.url)} was blocked")]
        if blocked:
            raise NotDone(" ".join(blocked))

    async def _see_what_must_hold(self) -> None:
        """Look whether the page shows in the end what the words say it must; one that is not ready yet is waited for.

        Raises:
            NotDone: It does not.
        """
        wanted = asserting.stated(self.task)
        if not wanted:
            return
        holds = page_shows(**wanted)
        verdict = await holds(self._value(self.hands.page))
        for pause in PAUSES:
            if verdict.outcome != "fail":
                break
            await self.process.sleep(pause)
            try:
                await self.hands.look()
            except LoopDetected:  # it stays as it is
                break
            verdict = await holds(self._value(self.hands.page))
        if verdict.outcome == "fail":
            raise NotDone(" ".join(verdict.reasons))
        if not verdict.passed:
            self.work.unsure = True
            self.work.notes += verdict.reasons

    async def _opened(self, url: str) -> Done:
        if not url:
            return await self.hands.look()
        given = self.given
        return await self.hands.open(url, allow=list(given.allow), profile=given.profile, headed=given.headed)

    def _extract(self) -> None:
        """Take from the last page what a program wants of it."""
        if not self.given.output:
            return
        values, sources = extracting.by_schema(self.hands.page, self.given.output, self.task)
        self.output, self.sources = values, sources
        missing = [name for name in self.given.output.get("required", ()) if name not in values]
        if missing:
            raise NotDone(f"The page {self.hands.page.url} does not say: {', '.join(missing)}.")

    output: Mapping[str, Any] | None = None
    sources: Mapping[str, extracting.Found] = {}

    # -- what it came to

    def _told(self, problem: str) -> Report:
        page, found = self.hands.page, {**self.work.found, **self.sources}
        outcome: ReportOutcome = "failed" if problem else "unverified" if self.work.unsure else "done"
        sources = tuple(Source(place=_place(page, one), quote=one.place) for one in found.values())
        return Report(
            task_id=self.id, agent="operator", outcome=outcome, value=self._value(page), text=self._text(page),
            sources=sources, confidence=round(self.work.confidence, 2),
            reasons=tuple(filter(None, (problem, *self.work.notes))),
        )  # fmt: skip

    def _value(self, page: Page) -> dict[str, Any]:
        fields = {
            one.name or one.label or one.ref: "chosen" if one.chosen else one.value
            for one in page.parts.values()
            if one.chosen or (one.value and (one.editable or one.options))
        }
        value: dict[str, Any] = {
            "url": page.url, "title": page.title, "steps": list(self.hands.done), "fields": fields,
            "says": "\n".join(one.text for one in page.texts)[:MOST_SAID],
            "choices": {name: list(chosen) for name, chosen in self.hands.choices.items()},
        }  # fmt: skip
        if self.skill is not None and self.again is not None:
            steps = data_of(mended(self.skill, self.again.healed))["steps"]
            healed = {str(number): steps[number] for number in self.again.healed}
            value |= {"skill": self.skill.name, "healed": healed, "found": list(self.again.found)}
        if self.output is not None:
            sources = {name: _source(page, one) for name, one in self.sources.items()}
            value |= {"output": dict(self.output), "sources": sources}
        return value

    def _text(self, page: Page) -> str:
        said = [one.value for one in self.work.found.values()]
        if self.output:
            said += [f"{name}: {value}" for name, value in self.output.items()]
        if said:
            return "\n".join(said)
        if not self.hands.done:
            return ""
        where = f"The page is now “{page.title}” ({page.url})." if page.title else f"The page is now {page.url}."
        return f"{'; '.join(self.hands.done)}.\n{where}"


def _source(page: Page, found: extracting.Found) -> dict[str, str]:
    return {"ref": found.ref, "place": found.place, "value": found.value, "url": page.url}


def _place(page: Page, found: extracting.Found) -> str:
    return f"{page.url}#{found.ref}" if found.ref else page.url


def check_for(task: str) -> Check | None:
    """A plan's check: that the last page shows what the words say it must; none where they say nothing of it."""
    wanted = asserting.stated(task)
    return Check(verifier="page_shows", arguments=dict(wanted)) if wanted else None


operator = Worker(
    name="operator",
    code=work,
    description="Works on web pages in a browser: fills in forms, clicks, chooses, logs in, reads values from pages.",
    examples=("Fill in the form on https://example.org/join", "Log in to the shop and download the last invoice"),
    effects=("external", "irreversible"),
    profile=Profile(tools=TOOLS),
    check_of=check_for,
)
