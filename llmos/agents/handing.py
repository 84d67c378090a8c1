"""Requests that the assistant hands on whole, because they are one piece of work: what is done on a web page, and a
program that is to be written.

The words alone decide.
"""

from __future__ import annotations

from llmos.agents import microcode, programming
from llmos.agents.operator.instructions import by_hand
from llmos.agents.operator.page import origin_of
from llmos.agents.spans import of_kind
from llmos.kernel.process import Process

_OPERATOR = "operator"


async def handed_on(process: Process, task: str) -> str | None:
    """Hand a request on, where it is a whole.

    Returns:
        What came of it, in words; None where it is the assistant's own.

    Raises:
        BudgetExceeded, Interrupted, EngineError: As of the system calls that it makes.
    """
    said = await _on_a_page(process, task)
    return await _a_program(process, task) if said is None else said


async def _on_a_page(process: Process, task: str) -> str | None:
    """What the operator did, where it can only be done by hand on a page that the words name.

    An address that they name may be one of this machine or network, too: the gate has the user asked before that.
    """
    able = _OPERATOR in process.system.agents and "browser_open" in process.entry.devices
    if not able or not by_hand(task):
        return None
    named = dict.fromkeys(origin_of(one.text) for one in of_kind(task, "url") if "://" in one.text)
    child = await process.spawn(_OPERATOR, task, {"allow": list(filter(None, named))})
    report = await process.wait(child)
    if report["outcome"] == "failed":
        return "\n".join(filter(None, ("I could not do it. " + " ".join(report["reasons"]), report["text"])))
    return "\n".join((report["text"], *report["reasons"]))


async def _a_program(process: Process, task: str) -> str | None:
    """The program that the words ask for and what it prints, run where it can change nothing; or why there is none."""
    if programming.SANDBOX not in process.entry.devices or not programming.asks(task):
        return None
    written = await programming.program(process, task, await microcode.forms(process))
    if isinstance(written, str):
        return f"I could not write a program that works. The last one failed: {written}"
    return written.shown()
