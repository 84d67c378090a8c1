"""Workers as processes of a real kernel on a scripted engine, with the real tools, in a folder of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmos import Kernel
from llmos.agents.report import Report
from llmos.agents.workers.worker import Worker
from llmos.errors import NobodyThere
from llmos.kernel.calls import Approval, Level, Reply
from llmos.runs import Parts


@dataclass
class Person:
    """Agrees or not, and answers questions or is away."""

    reply: Reply = "once"
    said: str = ""
    shown: list[str] = field(default_factory=list[str])

    async def approve(self, approval: Approval, /) -> Reply:
        self.shown.append(approval.shown)
        return self.reply

    async def answer(self, pid: str, question: str, /) -> str:
        if not self.said:
            raise NobodyThere("nobody is there")
        return self.said


@dataclass
class Office:
    """A workspace in which workers are given tasks."""

    workspace: Path
    folder: Path
    person: Person
    replies: Any = "Fine."

    def write(self, path: str, text: str) -> None:
        file = self.workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    async def do(
        self, worker: Worker, task: str, inputs: dict[str, Any] | None = None, *, level: Level = "L3"
    ) -> Report:
        parts = Parts(folder=self.folder, approver=self.person)
        async with Kernel.testing(self.replies, parts=parts) as kernel:
            run = await kernel.spawn(worker, task, inputs, workspace=self.workspace, level=level)
            report = Report.model_validate(await run.result())
        if any("no way to confine code" in reason for reason in report.reasons):
            pytest.skip(report.reasons[0])
        return report


@pytest.fixture
def office(tmp_path: Path) -> Office:
    (tmp_path / "workspace").mkdir()
    return Office(tmp_path / "workspace", tmp_path / "data", Person())
