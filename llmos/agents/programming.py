"""Programs that the model writes for a request, and that are run before anybody sees them.

Drafts are run where they can change nothing. One that the model is sure of is taken if it prints something; else
several are drawn, and what most of them print wins: right programs agree, wrong ones differ (self-consistency, Wang et
al. 2022, arXiv:2203.11171). Knows the job's form, and no tool but the sandbox.
"""

from __future__ import annotations

import ast
import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llmos.agents import jobs
from llmos.agents.calibration import tempered
from llmos.agents.spans import of_kind
from llmos.kernel.calls import Result
from llmos.kernel.process import Process
from llmos.messages import GREEDY, Microcode, Sampling

SANDBOX = "compute"
"""The tool that runs a program which can change nothing."""

DRAFTS = 12
SURE = 0.8
"""So likely the first draft must be to be the only one."""

TEMPERATURE = 0.6
MAX_TOKENS = 240
_NOTHING = "(no output)"
SECONDS = 5

_WRITES = re.compile(
    r"\b(?:write|code|make|create|build|develop|draft|compose|program|need|want|give|have|use|using|with|in|solve)\b",
    re.I,
)
_PROGRAM = re.compile(r"\b(?:python|scripts?|lines of code|programs?(?=\s+(?:that|which|to)\b))\b", re.I)
_NO_ORDER = re.compile(r"^\W*(?:what|who|why|when|where|is|are|explain|describe|tell me about)\b", re.I)
_OTHER = re.compile(
    r"\b(?:shell|bash|javascript|java|rust|html|function|class|tests|poem|story|song|letter|essay)\b"
    r"|\babout (?:an?|the|python)\b"
    r"|^\W*how (?:do|does|can|to|would|should)\b",
    re.I,
)
_ONE = re.compile(
    r"\b(?:add(?:s|ed|ing)?\b.{0,20}\bup|sum|total|average|mean|product|how (?:many|much|often)|counts?|number of"
    r"|largest|biggest|smallest|longest|shortest|greatest|least|whether|difference)\b",
    re.I,
)
_SEVERAL = re.compile(
    r"\b(?:all|every|each|first \w+ \w+|list|table|sort(?:ed|s)?|sequence|triangle)\b|^\W*which\b", re.I
)
"""What a request says of how many values are to be printed."""

_VALUES = re.compile(r"[^\s,;\[\](){}]+")
_CODE = re.compile(r"\w\(|[=\[\]{}]")
_FENCED = re.compile(r"```(?:python|py)?\n(.*?)(?:```|\Z)", re.S)


@dataclass(frozen=True, slots=True)
class Written:
    """A program that ran.

    Attributes:
        output: What it printed.
        agreed: How many drafts printed that, of `drafts` that were made.
    """

    code: str
    output: str
    agreed: int
    drafts: int

    def shown(self) -> str:
        """The program and what it prints, with the doubt where drafts did not agree."""
        text = f"```python\n{self.code}\n```\nIt prints:\n\n{self.output}"
        if self.drafts > 1 and self.agreed * 2 <= self.drafts:
            text += f"\n\n(I am not sure of this: {self.agreed} of {self.drafts} drafts gave it.)"
        return text


def asks(words: str) -> bool:
    """Whether words ask for a program that is to be written; one that stands in them, or in a file, is written."""
    bare = words
    for span in reversed(of_kind(words, "quoted")):
        bare = f"{bare[: span.start]}{bare[span.end :]}"
    if _NO_ORDER.search(bare) and not re.search(r"\b(?:write|solve|code)\b", bare, re.I):
        return False
    if _OTHER.search(bare) or _CODE.search(bare) or of_kind(words, "path"):
        return False
    found = _PROGRAM.search(bare)
    return found is not None and _WRITES.search(bare) is not None and not _is_named(bare, found)


def _is_named(words: str, found: re.Match[str]) -> bool:
    """Whether a program is one that is there: `the program`, `my script`, and no word of Python."""
    before = words[: found.start()].split()[-1:] or [""]
    named = before[0].lower() in ("the", "this", "that", "my", "our", "your", "their")
    return named and "python" not in words.lower()


async def program(process: Process, request: str, code: Microcode | None) -> Written | str:
    """Write a program for a request and run it.

    Args:
        code: Of the model; its own confidence counts only with it.

    Returns:
        The program that ran; or why none did, as the last one said it.

    Raises:
        BudgetExceeded, Interrupted, EngineError: As of the system calls that it makes.
    """
    source, sure = await _draft(process, request, code, GREEDY)
    first = await _run(process, source)
    if first.output and sure >= SURE:
        return Written(source, first.output, 1, 1)
    samplings = [Sampling(temperature=TEMPERATURE, top_p=0.95, seed=seed) for seed in range(1, DRAFTS)]
    more = await asyncio.gather(*(_draft(process, request, code, one) for one in samplings))
    times = Counter([source, *(text for text, _ in more)])
    tried = [first, *[await _run(process, other) for other in times if other != source]]
    return _most(tried, times, request)


@dataclass(frozen=True, slots=True)
class _Ran:
    code: str
    output: str = ""
    problem: str = ""


def fits(words: str, output: str) -> bool:
    """Whether an output is of the kind that words ask for: one value, or several; where they don't say, anything is."""
    values = len(output.split("\n")) if "\n" in output else len(_VALUES.findall(output))
    several, one = _SEVERAL.search(words), _ONE.search(words)
    if several is None and one is None:
        return True
    return values > 1 if one is None or (several is not None and several.start() < one.start()) else values == 1


def _most(tried: Sequence[_Ran], times: Counter[str], words: str) -> Written | str:
    """The first program of those that print what most drafts print, of the kind that is asked for if there is one."""
    votes = Counter[str]()
    for one in tried:
        if one.output:
            votes[one.output] += times[one.code]
    if not votes:
        return next((one.problem for one in reversed(tried) if one.problem), "It printed nothing.")
    best, agreed = max(votes.items(), key=lambda one: (fits(words, one[0]), one[1]))
    chosen = next(one for one in tried if one.output == best)
    return Written(chosen.code, best, agreed, times.total())


async def _draft(process: Process, request: str, code: Microcode | None, sampling: Sampling) -> tuple[str, float]:
    """A program's source, empty where it is none, and how likely it is right."""
    thought = await process.aside(jobs.program(request)).think(sampling=sampling, max_tokens=MAX_TOKENS)
    source = _source(thought.text)
    if code is None or thought.likelihood is None:
        return source, 0.0
    (sure,) = tempered((thought.likelihood,), code.temperatures.get("program", 1.0))
    return source, sure


def unfenced(text: str) -> str:
    """What stands in the first fence of a text; all of it where there is none."""
    fenced = _FENCED.search(text)
    return fenced[1] if fenced else text


def _source(text: str) -> str:
    """The program in what a model wrote."""
    source = unfenced(text).strip("\n").rstrip()
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ""
    return source


async def _run(process: Process, source: str) -> _Ran:
    if not source:
        return _Ran(source, problem="What was written is no program.")
    result = await process.act(SANDBOX, {"code": source, "seconds": SECONDS})
    if result.failed or result.text.strip() == _NOTHING:
        return _Ran(source, problem=problem_of(result))
    return _Ran(source, output=result.text.strip())


def problem_of(result: Result) -> str:
    """Why a program failed, as it said itself last."""
    said = [line for line in result.text.splitlines() if line.strip() and not line.startswith("(exit code")]
    return said[-1].strip() if said else "The program failed."
