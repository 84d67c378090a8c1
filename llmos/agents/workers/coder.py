"""The coder: writes a small function with tests, and gives nothing away as tested that its tests have not passed.

The tests are made of the examples in the words; the model writes candidates, each with its own seed; the tests, run in
the sandbox, decide. What failed goes into the next round. Files are written through the gate.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import textwrap
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llmos.agents.plan import Check
from llmos.agents.programming import unfenced
from llmos.agents.report import Report
from llmos.agents.workers.reporting import Inputs, as_json, effect, task_id_of
from llmos.agents.workers.tables import WorkFailed, run_program
from llmos.agents.workers.wanted import Wanted, wanted
from llmos.agents.workers.worker import Worker
from llmos.errors import Denied
from llmos.kernel.entry import Profile
from llmos.kernel.process import Process
from llmos.messages import Context, Message, Regex, Sampling

ROUNDS = 2
CANDIDATES = 8
"""In each round: one greedy, the others sampled."""

TEMPERATURE = 0.7
MAX_CODE_TOKENS = 160
SMALL = 3e9
"""Models of fewer parameters are held to a function's form."""

SECONDS = 5
IMPORTS = frozenset(
    {"bisect", "collections", "datetime", "decimal", "fractions", "functools", "heapq", "itertools", "math"}
    | {"operator", "re", "statistics", "string", "textwrap", "typing", "unicodedata"}
)
"""A function may use these: none reaches outside of the program."""

_FORBIDDEN = frozenset(
    {"breakpoint", "compile", "delattr", "eval", "exec", "exit", "getattr", "globals", "input", "locals", "open"}
    | {"quit", "setattr", "vars"}
)
_BODY = r"( {4}[^ \n][^\n]*\n)( {4}[^\n]+\n){0,11}"


async def work(process: Process, task: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Writes a small Python function with tests made of your examples, and runs them.

    Args:
        process: The process that runs it.
        task: What the function does, with examples such as `add(1, 2) == 3`.
        inputs: See `llmos.agents.workers`.

    Returns:
        A `Report`; its value has `code`, `tests`, `name`, `path`, `test_path`, how many examples hold (`passed`, `of`)
        and how many candidates were `tried`. Without examples, or where not all hold, it is `unverified`.
    """
    asked = wanted(task)
    try:
        return as_json(await _Coding(process, asked, inputs).report())
    except (WorkFailed, Denied) as error:
        reason = error.message if isinstance(error, Denied) else str(error)
        return as_json(Report(task_id=task_id_of(inputs), agent="coder", outcome="failed", reasons=(reason,)))


@dataclass(frozen=True, slots=True)
class _Tried:
    """A candidate and what became of it."""

    code: str
    passed: int
    problems: tuple[str, ...]


class _Coding:
    """One function being written."""

    def __init__(self, process: Process, asked: Wanted, inputs: Inputs) -> None:
        self.process, self.asked, self.id = process, asked, task_id_of(inputs)
        self.problems: list[str] = [str(one) for one in (inputs or {}).get("reasons", ())]
        self.tried = 0

    async def report(self) -> Report:
        best = await self._best()
        if best is None:
            raise WorkFailed(f"None of {self.tried} attempts was a function {self.asked.name!r} that can be run.")
        asked, of = self.asked, len(self.asked.examples)
        reasons: list[str] = list(best.problems)
        if not of:
            reasons.append("Your words have no example such as f(1) == 2, so nothing was tested.")
        good = best.passed == of > 0
        tests = source_of_tests(asked)
        made = await self._written(best.code, tests, reasons) if good else ()
        value = {
            "name": asked.name, "code": best.code, "tests": tests, "path": asked.path, "test_path": asked.test_path,
            "passed": best.passed, "of": of, "tried": self.tried,
        }  # fmt: skip
        said = f"{best.passed} of {of} examples hold" if of else "not tested"
        text = f"```python\n{best.code}```\n{said}; {self.tried} candidates tried."
        text += f"\nWritten: {', '.join(made)}" if made else ""
        return Report(
            task_id=self.id, agent="coder", outcome="done" if good else "unverified", value=value, text=text,
            artifacts=made, reasons=tuple(reasons),
        )  # fmt: skip

    async def _best(self) -> _Tried | None:
        """The first candidate for which all examples hold; else the one for which most do."""
        best: _Tried | None = None
        seen: set[str] = set()
        for number in range(ROUNDS):
            for code in await self._candidates(number):
                if code in seen:
                    continue
                seen.add(code)
                self.tried += 1
                tried = await self._check(code)
                if best is None or tried.passed > best.passed:
                    best = tried
                if tried.passed == len(self.asked.examples):
                    return tried
            if best is not None:
                self.problems = list(best.problems)
        return best

    async def _candidates(self, number: int) -> list[str]:
        """What the model writes, all candidates of a round at once; what is no plain function is left out."""
        info = (await self.process.system.engine()).info
        small = "constrain" in info.capabilities and 0 < info.parameters < SMALL
        asks = [self._ask(number * CANDIDATES + place, small=small) for place in range(CANDIDATES)]
        written = await asyncio.gather(*asks)
        return [code for text in written if (code := plain_function(text, self.asked))]

    async def _ask(self, seed: int, *, small: bool) -> str:
        """One candidate. Small models are held to the function's form; odd seeds continue a module, even ones chat."""
        sampling = Sampling(temperature=0.0 if seed < 2 else TEMPERATURE, top_p=0.95, seed=seed)
        if small and seed % 2:
            branch = self.process.aside(Context(text=self._documented()))
            thought = await branch.think(sampling=sampling, max_tokens=MAX_CODE_TOKENS, constraint=Regex(_BODY))
            return f"{self._head()}{thought.text}"
        branch = self.process.aside(Context(messages=(Message("user", self._chat()),)))
        signature = re.escape(self.asked.signature).replace(r"\ ", " ")
        form = Regex(f"```python\n{signature}\n{_BODY}```") if small else None
        thought = await branch.think(sampling=sampling, max_tokens=MAX_CODE_TOKENS, constraint=form)
        return thought.text

    def _chat(self) -> str:
        problems = "\n".join(["An earlier attempt was wrong:", *self.problems]) if self.problems else ""
        examples = "\n".join(f"assert {_claim(one.call, one.want, one.raises)}" for one in self.asked.examples)
        return prompts()["coder_chat"].format(
            about=self.asked.about, signature=self.asked.signature, examples=examples, problems=problems
        )

    def _documented(self) -> str:
        """The function's beginning, as it would stand in a module, up to the end of its docstring."""
        examples = "\n".join(f"    >>> {one.call}\n    {one.want}" for one in self.asked.examples if one.want)
        return (
            prompts()["coder_doc"]
            .lstrip("\n")
            .replace("{signature}", self.asked.signature)
            .replace("{about}", self.asked.about)
            .replace("{examples}", examples)
        )

    def _head(self) -> str:
        return f'{self.asked.signature}\n    """{self.asked.about}"""\n'

    async def _check(self, code: str) -> _Tried:
        order = {"code": code, "name": self.asked.name, "examples": [one.as_json() for one in self.asked.examples]}
        try:
            found = await run_program(self.process, "examples", order, seconds=SECONDS)
        except WorkFailed as error:
            return _Tried(code, 0, (f"The code was ended: {error}",))
        return _Tried(code, int(found["passed"]), tuple(found["problems"][:3]))

    async def _written(self, code: str, tests: str, reasons: list[str]) -> tuple[str, ...]:
        """Write both files; those that may not be written are told."""
        made: list[str] = []
        for path, text in ((self.asked.path, code), (self.asked.test_path, tests)):
            problem = await effect(self.process, "write_file", {"path": path, "text": text})
            if problem:
                reasons.append(f"{path} was not written: {problem}")
            else:
                made.append(path)
        return tuple(made)


@cache
def prompts() -> dict[str, str]:
    """The prompts, read once."""
    return {**tomllib.loads(Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8"))}


def _claim(call: str, want: str, raises: str) -> str:
    return f"raises({raises}, {call!r})" if raises else f"{call} == {want}"


def _module_of(asked: Wanted) -> str:
    """The name that the code's file is imported by from the workspace: not always that of the function."""
    return asked.path.removeprefix("./").removesuffix(".py").replace("/", ".")


def source_of_tests(asked: Wanted) -> str:
    """A test file with one test for each example."""
    lines = [f'"""Tests of {asked.name}, from the examples it was asked for with."""', ""]
    if any(one.raises for one in asked.examples):
        lines += ["import contextlib", ""]
    lines += [f"from {_module_of(asked)} import {asked.name}"]
    for number, one in enumerate(asked.examples, 1):
        lines += ["", "", f"def test_example_{number}() -> None:"]
        if one.raises:
            lines += [f"    with contextlib.suppress({one.raises}):", f"        raise AssertionError({one.call})"]
        else:
            lines += [f"    assert {one.call} == {one.want}"]
    return "\n".join(lines) + "\n"


def plain_function(text: str, asked: Wanted) -> str:
    """The function in what a model wrote, with what it imports; empty if it is none that may be run.

    It may import a few modules that compute, and use no name that reaches out of the program. A function that has an
    example's answer written into it is none.
    """
    tree = _parsed(textwrap.dedent(unfenced(text)))
    if tree is None:
        return ""
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef):
            kept.append(node)
    if not any(isinstance(node, ast.FunctionDef) and node.name == asked.name for node in kept):
        return ""
    module = ast.Module(kept, [])
    module = _with_imports(module)
    if any(not _allowed(node) for node in ast.walk(module)) or _has_answers(module, asked):
        return ""
    return ast.unparse(ast.fix_missing_locations(module)) + "\n"


def _parsed(source: str) -> ast.Module | None:
    """A source's tree, without as many of its last lines as it takes to make it one: it may have been cut."""
    lines = source.rstrip().splitlines()
    for end in range(len(lines), max(len(lines) - 6, 0), -1):
        try:
            return ast.parse("\n".join(lines[:end]))
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
    return None


def _with_imports(module: ast.Module) -> ast.Module:
    """The module with imports of what it uses and forgot to import."""
    used = {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {one.asname or one.name for node in ast.walk(module) if isinstance(node, ast.Import) for one in node.names}
    bound |= {node.arg for node in ast.walk(module) if isinstance(node, ast.arg)}
    bound |= {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    missing = sorted(used & IMPORTS - bound)
    imports: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in missing]
    return ast.Module([*imports, *module.body], [])


def _allowed(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return all(one.name.partition(".")[0] in IMPORTS for one in names)
        case ast.ImportFrom(module=name):
            return (name or "").partition(".")[0] in IMPORTS
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name not in _FORBIDDEN and not name.startswith("__")
        case ast.FunctionDef(decorator_list=decorators):
            return not decorators
        case ast.Global() | ast.Nonlocal():
            return False
        case _:
            return True


def _has_answers(module: ast.Module, asked: Wanted) -> bool:
    """Whether the code has an example's argument written into it, or nothing but its answer."""
    said: set[Any] = set()
    for one in asked.examples:
        call = ast.parse(one.call, mode="eval")
        said |= {node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and _telling(node.value)}
    written = [node.value for node in ast.walk(module) if isinstance(node, ast.Constant)]
    return any(_telling(value) and value in said for value in written)


def _telling(value: object) -> bool:
    """Whether a constant is an example's own and could hardly stand in a program that works for others, too."""
    return isinstance(value, str) and len(value) > 3


def check_of(task: str) -> Check | None:
    """The examples in a task as a check of its code; none where there are none of values that JSON has."""
    asked = wanted(task)
    found: list[list[Any]] = []
    for one in asked.examples:
        value = ast.literal_eval(one.want) if one.want else None
        if one.want and value == json.loads(json.dumps(value, default=repr, skipkeys=True)):
            found.append([one.call, value])
    arguments = {"examples": found, "module": _module_of(asked)}
    return Check(verifier="tests_pass", arguments=arguments) if found else None


coder = Worker(
    name="coder",
    code=work,
    description="Writes a small Python function with tests made of your examples, and runs them.",
    examples=(
        "Write a function is_even(n) with tests: is_even(2) == True, is_even(3) == False",
        "Write a small program with tests that reverses a text: 'abc' becomes 'cba'",
        "Implement count_vowels(text) in vowels.py so that count_vowels('banana') == 3",
    ),
    effects=("reads", "writes"),
    profile=Profile(tools=("compute", "write_file")),
    check_of=check_of,
)
