"""What a run brings with it when it is resumed: what it used up, and which errors its code knows of already.

An error that says something about the machine is not entered, so that the call is made again. But code may go on after
it; then it is something that the code has been told, and is entered after all (`settle`), lest the code be told
something else the next time. Knows no engine and no tool's insides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from llmos.events import Usage
from llmos.kernel.budget import Resource
from llmos.kernel.calls import Effect
from llmos.kernel.entry import AgentCode, Entry
from llmos.kernel.journal import Journal, Record, canonical
from llmos.wire import ErrorData

if TYPE_CHECKING:
    from llmos.kernel.protocols import Device

OUTSIDE: tuple[Effect, ...] = ("external", "irreversible")
_FREE = ("now", "random", "race", "verify", "end")

Used = Mapping[str, Mapping[Resource, float]]
"""What each process of a run used, by its path."""


def bytes_out(device: Device, arguments: object) -> int:
    """How many bytes of arguments a call sends out of this machine."""
    return len(canonical(arguments).encode()) if device.traits.effect in OUTSIDE else 0


def used(records: Iterable[Record], devices: Mapping[str, Device]) -> Used:
    """What the calls in a journal used up; wall-clock time and what tools asked the user are not known from there."""
    found: dict[str, Counter[Resource]] = {}
    for record in records:
        if record.kind in _FREE:
            continue
        counts = found.setdefault(record.path.partition("~")[0], Counter())
        counts["steps"] += 1
        counts["questions"] += record.kind == "ask"
        if record.kind == "act" and record.arguments:
            tool, arguments = json.loads(record.arguments)
            counts["calls"] += 1
            counts["bytes_out"] += bytes_out(devices[tool], arguments) if tool in devices else 0
            counts["questions"] += bool(record.decision and json.loads(record.decision).get("user"))
        elif record.kind == "think" and record.done and not record.failed and record.result:
            result = json.loads(record.result)
            usage = Usage(**result["usage"])
            counts["tokens"] += max(usage.prompt_tokens - usage.reused_tokens, 0) + usage.generated_tokens
            counts["money"] += result["money"]
    return found


def restore(entry: Entry, known: Used) -> None:
    """Charge a process with what it and all that came from it used in earlier lives of its run."""
    for path, counts in known.items():
        if path == entry.path or path.startswith(f"{entry.path}."):
            for resource, amount in counts.items():
                entry.meter.restore(resource, amount)


def settle(journal: Journal, entry: Entry, path: str = "") -> None:
    """Enter the errors that code has gone on after.

    Args:
        path: The branch that goes on, with those forked from it; all of the process if empty.
    """
    for failure in tuple(entry.failures):
        if path and failure.path != path and not failure.path.startswith(f"{path}~"):
            continue
        entry.failures.remove(failure)
        where = (entry.run, failure.path, failure.number)
        known = journal.find(*where, failure.kind, failure.arguments)
        if known is not None and known.done:
            continue
        error = canonical(asdict(ErrorData.of(failure.error)))
        journal.record(*where, failure.kind, failure.title, failure.arguments, error, failed=True)
        if failure.kind == "wait":  # the child has ended for its parent: it is not run again
            child: str = json.loads(failure.arguments)[0]
            journal.record(entry.run, child, 0, "end", "", "[]", error)


def known_end(journal: Journal, entry: Entry) -> AgentCode | None:
    """Code that ends as a child did in an earlier life of its run, if its parent took note of an error."""
    known = journal.find(entry.run, entry.path, 0, "end", "[]") if entry.parent is not None else None
    if known is None:
        return None

    async def fail(*_: object) -> None:
        raise ErrorData(**json.loads(known.result)).error()

    return fail
