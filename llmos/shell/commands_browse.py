"""The chat's command `/browse`: a task on web pages.

Knows what it does, not where it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmos.errors import LlmosError
from llmos.shell.commands import command
from llmos.shell.commands_memory import COMMANDS

__all__ = ["COMMANDS"]

if TYPE_CHECKING:
    from llmos.shell.shell import Shell

_USAGE = "/browse https://example.org click “More information”"


@command(
    "browse URL TASK",
    "do a task on web pages in a browser; what can't be taken back is asked about first",
    details="  /browse https://shop.example search for lamps and open the first one\n"
    "  `llmos browse` has more options: a window, logins, local pages.",
)
async def _browse(shell: Shell, argument: str) -> None:
    from llmos.browsing import Browse, account_for, as_taught, learn_from, start
    from llmos.config import data_dir
    from llmos.shell.browsing import StepLines
    from llmos.shell.calls import follow, result_text

    url, _, task = argument.strip().partition(" ")
    if not task.strip() or not url.startswith(("http://", "https://")):
        raise LlmosError("Where, and what is to be done there?", hint=_USAGE)
    session = shell.session
    job = as_taught(Browse(task=task.strip(), url=url), session.settings.memory)
    if job.skill:
        shell.screen.say(f"as you showed it: {job.skill['name']}")
    async with shell.screen.answer() as view:
        with session.approver.attached(view.ask):
            running = await start(session.kernel, job, level=session.settings.level)
            show = StepLines(running, view.note)
            async for event in follow(running):
                show(event)
            found: Mapping[str, Any] = await running.result()
    try:
        learn_from(found, job, session.knowing.memory, running.pid)
    except LlmosError as error:
        shell.screen.warn(f"what this run has shown can't be kept: {error.message}")
    report = account_for(data_dir(), running.pid, job.task, found)
    said = result_text(found) or "nothing was done"
    shell.screen.say(said)
    for reason in found["reasons"]:
        if reason not in said:
            shell.screen.warn(reason)
    if report is not None:
        shell.screen.say(f"report: {report}")
