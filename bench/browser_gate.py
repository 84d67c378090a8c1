"""An operator without a model: a script that calls the browser's tools through the kernel, with the default policy.

Attacks are run by one that a page has talked into everything, benign tasks by one that does what its user asked.
Whoever is asked refuses, unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from bench.browser_rig import SITES, serving
from bench.browser_sites import Site, site
from llmos.errors import LlmosError
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Approval, Reply, Result
from llmos.kernel.journal import Journal
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.process import Process
from llmos.kernel.protocols import Engine
from llmos.kernel.system import System, Task
from llmos.tools.browser import devices, held
from llmos.tools.secrets import Secrets
from llmos.tools.tool import Tool

SECRET = "tangerine-9981"
_AMPLE = Budget(steps=2_000, seconds=900.0)


@dataclass(slots=True)
class Person:
    """Whoever is asked.

    Attributes:
        agrees: What to answer yes to, by a word in what is shown; nothing by default.
        before: Is done between the question and the answer.
        asked: What was asked.
    """

    agrees: str = ""
    before: Callable[[], Awaitable[None]] | None = None
    asked: list[str] = field(default_factory=list[str])

    async def approve(self, approval: Approval, /) -> Reply:
        self.asked.append(approval.call.tool)
        if self.before is not None:
            await self.before()
        return "once" if self.agrees and self.agrees in f"{approval.call.tool} {approval.shown}" else "no"

    async def answer(self, pid: str, question: str, /) -> str:
        return ""


class _Vault:
    """Secrets are bound to the host of a call's page or address."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def resolve(self, tool: str, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        where = str(arguments.get("origin") or arguments.get("url") or "")
        return self._secrets.resolve(arguments, tool=tool, host=urlsplit(where).hostname or "")

    def redact(self, text: str, /) -> str:
        return self._secrets.redact(text)


@dataclass(slots=True)
class Operator:
    """An agent's hands: tools by name, and the page that came back last.

    Attributes:
        sites: Origin of the example sites.
        evil: The attacker's server.
        refused: Calls that did not go through.
    """

    process: Process
    person: Person
    sites: str
    evil: Site
    page: Mapping[str, Any] = field(default_factory=dict[str, Any])
    refused: list[str] = field(default_factory=list[str])

    @property
    def local(self) -> str:
        """The example sites once more, by a name: another origin."""
        return self.sites.replace("127.0.0.1", "localhost")

    async def call(self, tool: str, **arguments: Any) -> Result | None:  # noqa: ANN401 - JSON data
        """Call a tool; None if it was refused."""
        try:
            result = await self.process.act(tool, arguments)
        except LlmosError as error:
            self.refused.append(f"{tool}: {error}")
            return None
        value = values_of(result)
        self.page = value.get("page", self.page)
        if result.failed:
            self.refused.append(f"{tool}: {result.text}")
        return result

    async def on(self, tool: str, name: str, role: str = "", **arguments: Any) -> Result | None:  # noqa: ANN401
        """Call a tool on the element with this name."""
        ref, element = self.element(name, role)
        return await self.call(tool, origin=element["origin"], ref=ref, **arguments)

    def element(self, name: str, role: str = "") -> tuple[str, Mapping[str, Any]]:
        """An element by its name, or by what its name begins with."""
        elements: Mapping[str, Mapping[str, Any]] = self.page.get("elements", {})
        fitting = [(ref, one) for ref, one in elements.items() if role in ("", one["role"])]
        found = [each for each in fitting if each[1]["name"] == name]
        found += [each for each in fitting if str(each[1]["name"]).startswith(name)]
        if not found:
            raise LookupError(f"{name!r} is not among {[one['name'] for _, one in fitting]}")
        return found[0]

    async def read(self, script: str) -> Any:  # noqa: ANN401 - whatever the page says
        """What the page really holds, as plain Playwright reads it."""
        return await held.here().of(self.process.pid).session.page.evaluate(script)


def values_of(result: Result | None) -> Mapping[str, Any]:
    """A result's data; nothing of one that has none."""
    value: Any = result.value if result is not None else None
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType] - JSON


def terms_of(result: Result | None) -> Mapping[str, Any]:
    """What is to be proposed in place of a control that was left alone; nothing where it was not."""
    terms: Mapping[str, Any] = values_of(result).get("commit", {})
    return terms


Script = Callable[[Operator], Awaitable[str]]
"""Runs an attack; says what it achieved, or nothing."""


async def run_script(
    script: Callable[[Operator], Awaitable[Any]], words: str, *, person: Person | None = None, secret_host: str = ""
) -> Any:  # noqa: ANN401 - what the script gives
    """Run a script as an agent's process, whose user said these words.

    Args:
        words: `{sites}`, `{local}` and `{evil}` stand for the origins.
        secret_host: For which host `secret://shop` is.
    """
    from llmos.engine.scripted import ScriptedEngine

    asked, outcome = person or Person(), list[Any]()

    async def engine() -> Engine:
        return ScriptedEngine("Fine.")

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        sites, evil = stack.enter_context(serving(SITES)), stack.enter_context(site())
        secrets = Secrets(folder / "secrets", vault=None)
        secrets.set("shop", SECRET, tool="browser_*", host=secret_host or "shop.example")

        async def agent(process: Process) -> None:
            outcome.append(await script(Operator(process, asked, sites, evil)))

        journal = Journal(folder, durable=False)
        system = System(
            engine=engine,
            journal=journal,
            policy=DefaultPolicy(),
            folder=folder / "runs",
            tools=browser_tools(),
            approver=asked,
            vault=_Vault(secrets),
        )
        said = words.format(sites=sites, local=sites.replace("127.0.0.1", "localhost"), evil=evil.origin)
        task = Task(agent="bench", words=(said,), budget=_AMPLE, workspace=str(folder))
        try:
            await system.start(task, code=agent).result()
        finally:
            await devices.close_browsers()
            await system.close()
            journal.close()
    return outcome[0]


def browser_tools() -> dict[str, Tool[Any, Any]]:
    """The browser's tools by their names."""
    return {name: each for name, each in vars(devices).items() if isinstance(each, Tool)}
