"""Verifiers by name with JSON arguments, for plans: what there is, what each needs, and how to make one.

A plan is written by a model. So nothing here takes code or a pattern from it that runs outside the sandbox, and
arguments that don't fit are refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.verifiers.agreement import KEYS, consistent
from llmos.agents.verifiers.common import brief, text_of
from llmos.agents.verifiers.figures import recomputed
from llmos.agents.verifiers.judging import judge
from llmos.agents.verifiers.pages import page_shows
from llmos.agents.verifiers.people import human
from llmos.agents.verifiers.plain import predicate, schema
from llmos.agents.verifiers.quotes import quotes_found
from llmos.agents.verifiers.unit_tests import MAX_EXAMPLES, tests_pass
from llmos.errors import BadArguments, BadPlan
from llmos.kernel.branch import Branch

MAX_FORKS = 15
_DEPTH = 40

Short = Annotated[str, Field(min_length=1, max_length=500)]
Text = Annotated[str, Field(max_length=20_000)]
Paths = Annotated[tuple[Short, ...], Field(max_length=20)]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SchemaArguments(_Arguments):
    """The result is JSON that fits a JSON schema."""

    schema_: Annotated[dict[str, Any], Field(alias="schema", description="the JSON schema")]


class PredicateArguments(_Arguments):
    """The text of the result has or lacks words, or has a length."""

    contains: Annotated[tuple[Short, ...], Field(max_length=20, description="all of these stand in it")] = ()
    any_of: Annotated[tuple[Short, ...], Field(max_length=20, description="one of these stands in it")] = ()
    lacks: Annotated[tuple[Short, ...], Field(max_length=20, description="none of these stands in it")] = ()
    equals: Annotated[str | None, Field(max_length=2_000, description="it is this")] = None
    min_words: Annotated[int, Field(ge=0)] = 0
    max_words: Annotated[int, Field(ge=1)] = 1_000_000


class TestsArguments(_Arguments):
    """The result is Python code that passes unit tests in the sandbox."""

    __test__ = False  # no class of tests, whatever its name says

    tests: Annotated[Text, Field(description="source of test functions")] = ""
    files: Annotated[Paths, Field(description="test files in the workspace")] = ()
    examples: Annotated[
        tuple[tuple[Short, Any], ...],
        Field(max_length=MAX_EXAMPLES, description="expressions, and the value that each must have"),
    ] = ()
    module: Annotated[
        str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,79}$", description="the code is imported as this")
    ] = "solution"


class QuotesArguments(_Arguments):
    """Every quote of the result stands word for word in the sources."""

    sources: Annotated[dict[str, Text], Field(max_length=20, description="texts by name")] = {}
    files: Annotated[Paths, Field(description="files in the workspace; without any, those that the result cites")] = ()
    claims: Annotated[bool, Field(description="numbers and names outside quotes must be in the sources, too")] = False


class RecomputedArguments(_Arguments):
    """All arithmetic and the printed results of code in the result are right."""

    figures: Annotated[tuple[float | Short, ...], Field(max_length=20, description="figures that must appear")] = ()
    needed: Annotated[bool, Field(description="a result without any calculation is not accepted")] = True


class ConsistentArguments(_Arguments):
    """The model, asked anew several times, mostly gives the same answer."""

    question: Annotated[str, Field(min_length=1, max_length=4_000)]
    times: Annotated[int, Field(ge=1, le=MAX_FORKS)] = 3
    compare: Annotated[Literal["text", "number", "word"], Field(description="what of the answers is compared")] = "text"


class JudgeArguments(_Arguments):
    """The model finds that something holds of the result."""

    criterion: Annotated[Short, Field(description="a sentence that is true of a good result")]
    examples: Annotated[tuple[tuple[Short, Short, bool], ...], Field(max_length=8)] = ()


class HumanArguments(_Arguments):
    """The user says whether the result is right."""

    question: Short = "Is this right?"


class TableArguments(_Arguments):
    """The figures that the analyst took from a table are right."""


class PageArguments(_Arguments):
    """The web page on which the operator ended is the right one, says something, or its fields hold something."""

    url: Annotated[str, Field(max_length=2_000, description="its address, or what stands in it after the host")] = ""
    texts: Annotated[tuple[Short, ...], Field(max_length=20, description="all of these stand on it")] = ()
    lacks: Annotated[tuple[Short, ...], Field(max_length=20, description="none of these stands on it")] = ()
    fields_: Annotated[
        dict[Short, Short], Field(alias="fields", max_length=20, description="what fields hold, by their names")
    ] = {}


@dataclass(frozen=True, slots=True)
class _Named:
    arguments: type[_Arguments]
    make: Callable[[Branch, Any], Verifier[Any]]


def _schema(_: Branch, given: SchemaArguments) -> Verifier[Any]:
    _check_schema(given.schema_)
    return schema(given.schema_)


def _predicate(_: Branch, given: PredicateArguments) -> Verifier[Any]:
    def holds(value: object) -> Verdict:
        text = " ".join(text_of(value).split())
        folded, words = text.casefold(), len(text.split())
        wrong = [f"{one!r} is not in it." for one in given.contains if one.casefold() not in folded]
        wrong += [f"{one!r} must not be in it." for one in given.lacks if one.casefold() in folded]
        if given.any_of and not any(one.casefold() in folded for one in given.any_of):
            wrong.append(f"None of these is in it: {', '.join(given.any_of)}.")
        if given.equals is not None and folded != " ".join(given.equals.split()).casefold():
            wrong.append(f"It is not {brief(given.equals, 100)!r}.")
        if not given.min_words <= words <= given.max_words:
            wrong.append(f"It has {words:,} words; {given.min_words:,} to {given.max_words:,} are wanted.")
        return Verdict("fail", tuple(wrong)) if wrong else Verdict("pass")

    if given == PredicateArguments():
        raise BadArguments("There is nothing to check.", hint="Give at least one condition.")
    return predicate(holds, name="predicate")


def _tests(process: Branch, given: TestsArguments) -> Verifier[Any]:
    return tests_pass(process, given.tests, files=given.files, examples=given.examples, module=given.module)


def _quotes(process: Branch, given: QuotesArguments) -> Verifier[Any]:
    return quotes_found(given.sources, process=process, files=given.files, claims=given.claims)


def _recomputed(process: Branch, given: RecomputedArguments) -> Verifier[Any]:
    return recomputed(process, figures=given.figures, needed=given.needed)


def _consistent(process: Branch, given: ConsistentArguments) -> Verifier[Any]:
    return consistent(*[process] * given.times, question=given.question, key=KEYS[given.compare])


def _judge(process: Branch, given: JudgeArguments) -> Verifier[Any]:
    return judge(process, given.criterion, examples=given.examples)


def _human(process: Branch, given: HumanArguments) -> Verifier[Any]:
    return human(process, given.question)


def _table(process: Branch, _: TableArguments) -> Verifier[Any]:
    from llmos.agents.workers.checks import table_again

    return table_again(process)


def _page(_: Branch, given: PageArguments) -> Verifier[Any]:
    return page_shows(url=given.url, texts=given.texts, lacks=given.lacks, fields=given.fields_)


_VERIFIERS: Mapping[str, _Named] = {
    "schema": _Named(SchemaArguments, _schema),
    "predicate": _Named(PredicateArguments, _predicate),
    "tests_pass": _Named(TestsArguments, _tests),
    "quotes_found": _Named(QuotesArguments, _quotes),
    "recomputed": _Named(RecomputedArguments, _recomputed),
    "consistent": _Named(ConsistentArguments, _consistent),
    "judge": _Named(JudgeArguments, _judge),
    "human": _Named(HumanArguments, _human),
    "table_again": _Named(TableArguments, _table),
    "page_shows": _Named(PageArguments, _page),
}


def names() -> tuple[str, ...]:
    """The verifiers that a plan may name."""
    return tuple(_VERIFIERS)


def described() -> dict[str, tuple[str, dict[str, Any]]]:
    """For each verifier what it checks, and the JSON schema of its arguments: for a model that writes plans."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, one in _VERIFIERS.items():
        form = one.arguments.model_json_schema()
        found[name] = (str(form.pop("description")), form)
    return found


def check_arguments(name: str, arguments: Mapping[str, Any]) -> BaseModel:
    """Arguments as they are understood; nothing is made yet.

    Raises:
        BadPlan: There is no such verifier, or the arguments don't fit.
    """
    if name not in _VERIFIERS:
        raise BadPlan(f"There is no verifier {name!r}.", hint=f"There are: {', '.join(_VERIFIERS)}.")
    try:
        return _VERIFIERS[name].arguments.model_validate(dict(arguments))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {brief(one['msg'], 100)}" for one in error.errors()[:3]
        )
        fields = _VERIFIERS[name].arguments.model_json_schema().get("properties", {})
        raise BadPlan(
            f"The arguments of the verifier {name!r} don't fit: {wrong}.", hint=f"It takes: {', '.join(fields)}."
        ) from error


def named(process: Branch, name: str, arguments: Mapping[str, Any]) -> Verifier[Any]:
    """A verifier by its name.

    Args:
        process: On which it makes its calls. Verifiers that run at once need a branch each (`process.aside()`).
        arguments: JSON data, see `described`.

    Raises:
        BadPlan: There is no such verifier, or the arguments don't fit.
    """
    given = check_arguments(name, arguments)
    try:
        return _VERIFIERS[name].make(process, given)
    except BadArguments as error:
        raise BadPlan(f"The verifier {name!r} can't be made: {error.message}", hint=error.hint) from error


def within(process: Branch, seconds: float, make: Callable[[Branch], Verifier[Any]]) -> Verifier[Any]:
    """A verifier that can't tell if it takes longer; which it was is journaled.

    What holds the event loop can't be ended: see `predicate`.

    Args:
        make: Makes the verifier on a branch of its own.
    """
    name = make(process).name

    async def check(value: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        verifying, waiting = process.aside(process.context), process.aside()

        async def asked() -> Verdict | None:
            return await make(verifying)(value)

        async def late() -> Verdict | None:
            await waiting.sleep(seconds)
            return None

        _, verdict = await process.race(asked, late)
        return verdict or Verdict("unsure", (f"{name} did not end within {seconds:g} s.",))

    return Verifier(check, name=name)


def _check_schema(part: object, depth: int = 0) -> None:
    """A schema from a plan must not keep the processor busy or look outside itself.

    Raises:
        BadArguments: It does.
    """
    if depth > _DEPTH:
        raise BadArguments("The schema is nested too deeply.")
    if isinstance(part, list):
        for one in cast("list[object]", part):
            _check_schema(one, depth + 1)
    if not isinstance(part, dict):
        return
    for key, value in cast("dict[str, object]", part).items():
        text = value if isinstance(value, str) else ""
        if (key == "pattern" and text) or key == "patternProperties":
            raise BadArguments("A schema in a plan has no patterns: they could run for ever.")
        if key in ("$ref", "$dynamicRef") and text:
            raise BadArguments("A schema in a plan has no references.", hint="Write out what they stand for.")
        _check_schema(value, depth + 1)
