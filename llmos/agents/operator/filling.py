"""Putting values into fields: texts, dates, numbers on sliders, what stands on the page, logins. Sending forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from llmos.agents.operator import dates, extracting
from llmos.agents.operator.acting import Acting, NotDone
from llmos.agents.operator.goals import changed, choices, clicks, fields, filling, predicate, submits, suggestions
from llmos.agents.operator.hands import Move
from llmos.agents.operator.instructions import Goal, Pair
from llmos.agents.operator.matching import Matcher, echoes
from llmos.agents.operator.multistep import move_slider, pick_day
from llmos.agents.operator.page import Part
from llmos.agents.operator.phrases import Said, Target, target_of, values_in
from llmos.agents.operator.sums import solved
from llmos.errors import NobodyThere

_REFERS = re.compile(
    r"^(?:it|them|that|this)$|^(?:the|this|that|its|each)\b.*\b(?:of|in|from|below|above|shown|displayed|for|on)\b"
    r"|^(?:the |this |that |your )?(?:text|value|word|number|code|answer|result|name|solution)s?$",
    re.I,
)
"""Words that point to a value on the page."""

_ANSWER = re.compile(r"\b(?:answer|result|solution|sum)\b", re.I)
_PRONOUN = re.compile(r"(?:it|them|that|this|the (?:text|value|word|number|result|answer|code))", re.I)
_AS = re.compile(r"\bas\s+(?:the\s+user\s+)?([\w.@+-]+)", re.I)


@dataclass(slots=True)
class Filling(Acting):
    """Work on fields and forms."""

    async def _set(self, goal: Goal) -> bool:
        """A number on a slider or spinner, a day in a calendar; False where the words mean none."""
        words = goal.target.names[0] if goal.target.names else goal.target.text
        roles = goal.context.roles
        if (day := dates.day_of(words)) is not None:
            field = self._field(goal, goal.target if goal.context.empty else goal.context)
            await self._put_day(goal, field, Said(words, *self._place(words)), day)
            return True
        number = _number(words)
        if number is None:
            return False
        for role in ("slider", "spinbutton"):
            found = [one for one in self.page.parts.values() if one.role == role]
            if role == "slider" and not found and "slider" in roles:
                found = self._handles()
            if found and (role in roles or (not roles and len(found) == 1 and not self._offers(goal))):
                ranked = Matcher(self.page, self.task).ranked(goal.context, lambda part: part in found)  # noqa: B023
                part = ranked[0].part if ranked else found[0]
                await self._put_number(goal, part, words, number)
                return True
        return False

    def _handles(self) -> list[Part]:
        """What a slider is moved by where it has no role: what can have the focus and says nothing."""
        named = [one for one in self.page.parts.values() if "slider" in f"{one.label} {one.name}".lower()]
        return [one for one in named if "handle" in one.label.lower()] or named

    def _offers(self, goal: Goal) -> bool:
        return choices(self.page, self.task, goal.target, goal.context).found

    async def _put_number(self, goal: Goal, part: Part, words: str, number: float) -> None:
        if part.editable or part.tag == "input":
            done = await self.hands.do(filling(part, Said(words, *self._place(words))))
            now = self.page.parts.get(part.ref)
            if done.ok and (now is None or _number(now.value) == number):
                return
        if problem := await move_slider(self.hands, part, number):
            raise NotDone(f"“{goal.words}” was not done: {problem}")

    async def _fill(self, goal: Goal) -> None:
        pairs = goal.pairs or self._given(goal)
        if goal.act == "paste" or not pairs:
            pairs = await self._from_page(goal, pairs)
        if not pairs:
            raise NotDone(f"“{goal.words}” does not say what is to be filled in.")
        used: set[str] = set()
        wanted = predicate(goal.words)
        for pair in pairs:
            if not pair.value.quoted and _REFERS.search(pair.value.text):
                pair = (await self._from_page(goal, (pair,)))[0]
            if goal.every and len(pairs) == 1:
                await self._fill_all(goal, pair)
                continue
            used.add(await self._put(goal, pair, frozenset(used)))
            if wanted is not None:
                await self._take_suggestion(goal, wanted)
                return

    def _given(self, goal: Goal) -> tuple[Pair, ...]:
        """Values that came with the task, for the fields of their names."""
        return tuple(Pair(_named(name), Said(value, *self._place(value))) for name, value in self.values.items())

    async def _put(self, goal: Goal, pair: Pair, used: frozenset[str]) -> str:
        """Put a value into its field; the field's ref."""
        matches = fields(self.page, self.task, pair.field, goal.context, used=used)
        matches = [one for one in matches if "disabled" not in one.part.states] or matches
        if not matches:
            raise NotDone(f"There is no field on the page for “{pair.value.text}”.")
        top = matches[0].part
        day = dates.day_of(pair.value.text)
        number = _number(pair.value.text)
        if day is not None and "readonly" in top.states:
            await self._put_day(goal, top, pair.value, day)
            return top.ref
        if top.role == "slider" and not top.editable and number is not None:
            await self._put_number(goal, top, pair.value.text, number)
            return top.ref
        before = self.page
        moves = [filling(one.part, pair.value, goal.change, one.weight) for one in matches]
        move = await self._try(goal, moves, words=f"{pair.field.text or goal.words}")
        self._typed, self._sought = True, pair.value.text
        text = changed(pair.value.text, goal.change).casefold()
        came = suggestions(before, self.page, lambda name: name.casefold() == text)
        if came and move.part is not None and move.part.role == "combobox":
            await self._act(Move("click", came[0], wants="nothing"))
        return move.part.ref if move.part is not None else ""

    async def _put_day(self, goal: Goal, part: Part, value: Said, day: date) -> None:
        """Type a day where it can be typed, else choose it in the calendar."""
        if "readonly" not in part.states and part.kind == "date":
            await self._try(goal, [filling(part, value)])
            return
        problem = await pick_day(self.hands, part, day)
        if problem and "readonly" not in part.states:
            await self._try(goal, [filling(part, value)])
        elif problem:
            raise NotDone(f"“{goal.words}” was not done: {problem}")

    async def _fill_all(self, goal: Goal, pair: Pair) -> None:
        """The same value into every field of its kind."""
        roles = pair.field.roles
        for match in sorted(fields(self.page, self.task, pair.field, goal.context), key=lambda one: one.part.order):
            if match.part.editable and (not roles or match.part.role in roles or match.part.editable):
                await self._try(goal, [filling(match.part, pair.value, goal.change)])

    async def _take_suggestion(self, goal: Goal, fits: Callable[[str], bool]) -> None:
        """Choose what came up while typing and is as the words say."""
        listed = [one for one in self.page.parts.values() if not one.editable and fits(one.name)]
        if listed:
            await self._act(Move("click", listed[0], wants="nothing"))
        else:
            self.notes.append(f"Nothing came up that fits “{goal.words}”.")
            self.unsure = True

    async def _from_page(self, goal: Goal, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        """Pairs whose values stand on the page: what was copied, or what the words point to."""
        field = pairs[0].field if pairs else goal.target
        said = pairs[0].value.text if pairs else ""
        if _ANSWER.search(said) and (value := solved(self._texts())):
            return (Pair(field, Said(value, -1, -1)),)
        found = self._copied if _PRONOUN.fullmatch(said) or not said else None
        if found is None:
            target = goal.context if _PRONOUN.fullmatch(said) and not goal.context.empty else _pointed(said)
            hits = extracting.answers(self.page, target, self.task)
            found = hits[0] if hits else extracting.quoted_text(self.page, target, self.task)
        if found is None:
            raise NotDone(f"I did not find “{said or goal.words}” on the page.")
        return (Pair(field, Said(found.value, -1, -1)),)

    def _texts(self) -> list[str]:
        return [one.text for one in self.page.texts if not echoes(one.text, self.task)]

    async def _clear(self, goal: Goal) -> None:
        matches = fields(self.page, self.task, goal.target, goal.context)
        for match in matches if goal.every else matches[:1]:
            await self._act(Move("fill", match.part, "", wants="value"))

    async def _focus(self, goal: Goal) -> None:
        matches = fields(self.page, self.task, goal.target, goal.context)
        moves = [Move("click", one.part, weight=one.weight, wants="nothing") for one in matches]
        await self._try(goal, moves)

    async def _copy(self, goal: Goal) -> None:
        self._copied = extracting.quoted_text(self.page, goal.target, self.task)
        if self._copied is None:
            raise NotDone(f"I did not find “{goal.target.text}” on the page.")

    # -- forms

    async def _submit(self, goal: Goal) -> None:
        ways = submits(self.page, self.task, goal.target, form=self._form)
        if ways.found:
            await self._try(goal, ways.moves)
        elif self._typed:
            await self._act(Move("press", None, "Enter", wants="nothing"))
        else:
            raise NotDone("There is nothing on the page to submit.")

    async def _search(self, goal: Goal) -> None:
        target = Target("search", words=("search",), fields=("search",))
        ranked = fields(self.page, self.task, target, goal.context)
        if not ranked:
            raise NotDone("There is no field on the page to search with.")
        move = await self._try(goal, [filling(one.part, goal.pairs[0].value, "", one.weight) for one in ranked])
        self._typed, self._sought = True, goal.pairs[0].value.text
        before = self.page.state
        await self._act(Move("press", move.part, "Enter", wants="nothing"))
        if self.page.state == before:
            ways = clicks(
                self.page, self.task, Target("search", words=("search",), roles=frozenset({"button"})), Target()
            )
            if ways.found:
                await self._try(goal, ways.moves)

    async def _log_in(self, goal: Goal) -> None:
        """Fill in name and password, and send them; the password is best a secret's handle."""
        parts = list(self.page.parts.values())
        secret = next((one for one in parts if one.kind == "password"), None)
        if secret is None:
            found = await self._found(replace(goal, target=Target("log in", words=("login",))))
            await self._try(goal, found.moves)
            secret = next((one for one in self.page.parts.values() if one.kind == "password"), None)
        if secret is None:
            return
        name, password = await self._credentials(goal)
        user = Target("username", words=("username",), fields=("username", "email"))
        if name is not None:
            ranked = fields(self.page, self.task, user, Target(), used=frozenset({secret.ref}))
            if ranked:
                await self._try(goal, [filling(one.part, name, "", one.weight) for one in ranked])
        if password is not None:
            await self._try(goal, [filling(secret, password)])
        self._typed, self._form = True, secret.form
        await self._submit(replace(goal, target=Target("log in", words=("login",))))

    async def _credentials(self, goal: Goal) -> tuple[Said | None, Said | None]:
        """Whom to log in as, and with what: from the words, from what came with the task, or asked."""
        said = values_in(goal.words, 0, len(goal.words))
        secrets = [one for one in said if one.text.startswith("secret://")]
        names = [one for one in said if one not in secrets]
        shift = goal.start
        moved = [Said(one.text, one.start + shift, one.end + shift, one.quoted) for one in (*names, *secrets)]
        name = next((one for one in moved if not one.text.startswith("secret://")), None)
        password = next((one for one in moved if one.text.startswith("secret://")), None)
        if password is None and len(names) > 1:
            password = moved[1]
        if name is None and (match := _AS.search(goal.words)):
            name = Said(match[1], shift + match.start(1), shift + match.end(1))
        for key, value in self.values.items():
            if "pass" in key.lower():
                password = password or Said(value, *self._place(value))
            elif key.lower() in ("username", "user", "login", "email", "name"):
                name = name or Said(value, *self._place(value))
        if password is None:
            try:
                answer = await self.process.ask("With which secret shall I log in (such as secret://shop)?")
            except NobodyThere:
                answer = ""
            if not answer.strip():
                raise NotDone("I do not know with what to log in. Name a stored secret: “log in with secret://shop”.")
            password = Said(answer.strip(), -1, -1)
        return name, password


def _number(text: str) -> float | None:
    try:
        return float(text.strip().replace("\u2212", "-").replace(",", ""))
    except ValueError:
        return None


def _named(name: str) -> Target:
    """The field of a name that came with the task."""
    return target_of(name, 0, len(name))


def _pointed(words: str) -> Target:
    """What words point to: `the value of Country` is what stands at `Country`."""
    match = re.match(
        r"(?:the|this|that)\s+(?:value|text|number|word|name|content|code)s?\s+(?:of|for|in|from)\s+", words, re.I
    )
    rest = words[match.end() :] if match else words
    return target_of(rest, 0, len(rest))
