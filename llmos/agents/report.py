"""What an agent gives back for a task: typed, with evidence, never free prose alone."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

ReportOutcome = Literal["verified", "done", "unverified", "failed", "skipped"]


class Source(BaseModel):
    """Where something was found.

    Attributes:
        place: A file with a line (`notes/lease.md:12`), or an address.
        quote: What stands there, verbatim.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: str
    quote: str = ""


class Report(BaseModel):
    """What became of a task.

    Attributes:
        task_id: The task that it is on.
        agent: Who did it.
        outcome: `verified`: a check passed; `done`: nobody checked it; `unverified`: a check did not pass; `failed`:
            there is no result; `skipped`: it was not begun.
        value: The result as data.
        text: The result in words.
        sources: What it rests on.
        artifacts: Files that were made, relative to the workspace.
        confidence: How likely it is right, 0 to 1, calibrated; None where nothing is known.
        reasons: Why it is not verified, or what should be known about it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task_id: str = ""
    agent: str = ""
    outcome: ReportOutcome = "done"
    value: Any = None
    text: str = ""
    sources: tuple[Source, ...] = ()
    artifacts: tuple[str, ...] = ()
    confidence: float | None = None
    reasons: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether there is a result."""
        return self.outcome in ("verified", "done", "unverified")
