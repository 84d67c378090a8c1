"""A verifier that runs unit tests in the sandbox, and believes only what it has seen run.

Knows the tools that run Python by their names; what happens inside the sandbox is in `runner`.
"""

# ruff: noqa: PT028  # tests_pass is a verifier, and no test
from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from llmos.agents.report import Report
from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.verifiers.common import brief, code_of, several, unsure_if_refused
from llmos.errors import BadArguments
from llmos.kernel.branch import Branch

SECONDS = 20.0
"""How long all tests may take; the tool itself ends a program after 30."""

TOOLS = ("compute", "python")
"""What runs them: rather the one that changes nothing, so that nobody needs to be asked."""

MAX_EXAMPLES = 20
_MAX_VALUE = 300
_OWN = "tests"
_MARK = re.compile(r"[0-9a-f]{24}")


def tests_pass(
    process: Branch,
    tests: str = "",
    *,
    files: Sequence[str] = (),
    examples: Sequence[tuple[str, Any]] = (),
    module: str = "solution",
    seconds: float = SECONDS,
) -> Verifier[Any]:
    """The value is Python code, and it passes unit tests in the sandbox.

    Tests are functions and methods whose names begin with `test` (plain, async or `unittest`; no fixtures), or bare
    assertions. All that stand in the source must be seen to end well. Code that searches its own interpreter for what
    tests it may still forge that; it can't forge `examples`, whose right values never enter the sandbox.

    Args:
        tests: Source text.
        files: Test files in the workspace.
        examples: Expressions with the JSON values that they must have.
        module: The name that the tests import the code by, dotted where its file is in a folder; its public names are
            there without an import, too. A report with Python files among its artifacts is tested by these, and its
            text is not looked at.

    Raises:
        BadArguments: There is nothing to run, or more than is possible.
    """
    try:
        wanted = [json.dumps(value) for _, value in examples]
    except (TypeError, ValueError) as error:
        raise BadArguments(f"The value of an example is no JSON: {error}.") from error
    if not tests.strip() and not files and not examples:
        raise BadArguments("There are no tests to run.", hint="Give their source, test files, or examples.")
    if len(examples) > MAX_EXAMPLES or any(len(one) > _MAX_VALUE for one in wanted):
        raise BadArguments(f"At most {MAX_EXAMPLES} examples of at most {_MAX_VALUE} characters can be checked.")
    if not all(part.isidentifier() for part in module.split(".")):
        raise BadArguments(f"{module!r} is no name for a Python module.")
    sources: list[tuple[str, str | None]] = [(_OWN, tests)] if tests.strip() else []
    sources += [(file, None) for file in files]

    @unsure_if_refused
    async def check(value: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        in_files = isinstance(value, Report) and any(name.endswith(".py") for name in value.artifacts)
        program = _program(sources, None if in_files else code_of(value), module, [one for one, _ in examples], seconds)
        tool = TOOLS[0] if TOOLS[0] in process.entry.devices else TOOLS[1]
        result = await process.act(tool, {"code": program})
        told = read(result.text)
        if told is None:
            return Verdict("unsure", (f"Nobody saw the tests end: {brief(result.text) or 'no output'}",))
        return _verdict(told, [(one, right) for (one, _), right in zip(examples, wanted, strict=True)], seconds)

    return Verifier(check, name="tests_pass")


def read(text: str) -> Mapping[str, Any] | None:
    """What the runner said, from all that was printed: the line under the mark with which it began."""
    lines = text.splitlines()
    mark = lines[0].strip() if lines else ""
    if not _MARK.fullmatch(mark):
        return None
    said = [line[len(mark) :] for line in lines[1:] if line.startswith(mark)]
    try:
        return json.loads(said[0]) if len(said) == 1 else None
    except ValueError:  # cut, as where something flooded the output
        return None


def _verdict(told: Mapping[str, Any], examples: list[tuple[str, str]], seconds: float) -> Verdict:
    """What to make of the runner's report."""
    reasons = [f"{_name(name, examples)}: {reason}" for name, reason in told["failed"]]
    for place, (expression, right) in enumerate(examples):
        value = told["values"].get(str(place))
        if value and not _same(value, right):
            reasons.append(f"{expression} is {brief(value, 100)}, and not {brief(right, 100)}.")
    if told["lost"]:
        names = ", ".join(_name(name, examples) for name in told["gone"])
        how = {"late": f"after {seconds:g} s they were still running", "flooded": "the code wrote into their report"}
        reasons.append(f"Not seen to end: {names} ({how.get(told['how'], told['how'])}).")
    if told["twice"]:
        reasons.append("Some tests reported twice: the code interferes with its tests.")
    if not told["tests"] and not examples and not reasons:
        reasons.append("There was no test to run: name test functions test_….")
    more = told["failures"] - len(told["failed"])
    if more > 0:
        reasons.append(f"And {more} tests more failed.")
    if reasons:
        return Verdict("fail", several(reasons))
    count = told["tests"] + len(examples)
    return Verdict("pass", (f"{count} test{'s' if count > 1 else ''} passed.",))


def _name(name: str, examples: list[tuple[str, str]]) -> str:
    """A test's name for people."""
    if name.isdecimal() and int(name) < len(examples):
        return examples[int(name)][0]
    return name.removeprefix(f"{_OWN}:").rstrip(":") or "the tests"


def _same(value: str, right: str) -> bool:
    try:
        return bool(json.loads(value) == json.loads(right))
    except ValueError:
        return False


def _program(
    tests: list[tuple[str, str | None]], code: str | None, module: str, values: list[str], seconds: float
) -> str:
    """What is sent into the sandbox: the runner, and the call that starts it, so that a person can read both."""
    listed = ", ".join(f"({name!r}, {_literal(text)})" for name, text in tests)
    return f"{_runner()}\n\nwatch([{listed}], {_literal(code)}, {module!r}, {values!r}, {seconds!r})\n"


def _literal(text: str | None) -> str:
    """A text as Python source, on lines of its own where that is possible."""
    if text is None or "\\" in text or "'''" in text or text.endswith("'") or not text.replace("\n", "").isprintable():
        return repr(text)
    return f"'''\\\n{text}'''" if "\n" in text else repr(text)


@cache
def _runner() -> str:
    """The runner's source without what only its readers need."""
    tree = _Bare().visit(ast.parse(Path(__file__).with_name("runner.py").read_text(encoding="utf-8")))
    # one space a level: the tools bound the length of a program
    return re.sub(r"^(?: {4})+", lambda found: " " * (len(found[0]) // 4), ast.unparse(tree), flags=re.MULTILINE)


class _Bare(ast.NodeTransformer):
    """Takes docstrings and annotations out."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return ast.Assign([node.target], node.value, lineno=node.lineno) if node.value else node

    def _without_docstring(self, node: Any) -> ast.AST:  # noqa: ANN401  # whatever has a body
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)
