"""The operator: works in a browser. Its seat is here, its browser comes later, and it says so."""

from __future__ import annotations

from typing import Any

from llmos.agents.workers.worker import Worker
from llmos.errors import Unsupported
from llmos.kernel.entry import Profile
from llmos.kernel.process import Process


async def work(process: Process, task: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Works on web pages in a browser, once there is one.

    Raises:
        Unsupported: Always: there is no browser yet.
    """
    raise Unsupported(
        "The operator has no browser yet, so it can't work on web pages.",
        hint="To read a page, ask the researcher and give its address.",
    )


operator = Worker(
    name="operator",
    code=work,
    description="Works on web pages in a browser: fills in forms, clicks, downloads. It has no browser yet.",
    examples=("Fill in the form on https://example.org/join", "Log in to the shop and download the last invoice"),
    effects=("external",),
    profile=Profile(tools=()),
)
