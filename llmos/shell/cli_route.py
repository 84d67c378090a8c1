"""`llmos route` and `/route`: who would do a task, with the probabilities of all who could. Nothing is done.

Imports what the command needs when it runs, as `llmos.shell.cli` does. Knows no terminal library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmos.shell.cli_runs import AsJson, Model

if TYPE_CHECKING:
    from llmos.boot import Kernel
    from llmos.config import Settings

_SHOWN = 8
_BAR = 40


def add_to(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command(epilog='Example:  llmos route "which region sold most according to sales.csv?"')(route)


def route(
    context: typer.Context,
    task: Annotated[
        list[str] | None, typer.Argument(metavar="TASK", help="What is to be done; by default what is piped in.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many candidates to show.")] = _SHOWN,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Show who would do a task: the candidates with their probabilities, and why. Nothing is done."""
    import asyncio

    from llmos.shell.cli import settings_of
    from llmos.shell.oneshot import prompt_with_input

    words = " ".join(task or ()) or prompt_with_input("")
    if not words.strip():
        raise typer.BadParameter("a task is missing, as an argument or piped in", param_hint="TASK")
    asyncio.run(_show(words, settings_of(context, {"model": model}), top=top, as_json=as_json))


async def _show(words: str, settings: Settings, *, top: int, as_json: bool) -> None:
    from llmos.boot import Kernel
    from llmos.shell import jsonl, waiting

    async with Kernel(settings=settings) as kernel, waiting.shown(lambda: "finding out who should do it"):
        found = await route_of(kernel, words)
    print(jsonl.line({"task": words, **found}) if as_json else chart(found, top=top))


async def route_of(kernel: Kernel, task: str) -> Mapping[str, Any]:
    """A task's route, as data. The model is loaded only if the words leave it open.

    Raises:
        LlmosError: The model can't be loaded, or the run failed.
    """
    from llmos.agents.router import routed

    running = await kernel.spawn(routed, task, level="L1")
    found: Mapping[str, Any] = await running.result()
    return found


def chart(found: Mapping[str, Any], *, top: int = _SHOWN) -> str:
    """A route as a bar chart: each candidate with its probability, and below it what was decided and why."""
    from llmos.agents.router import Route
    from llmos.shell.inspect import bar
    from llmos.shell.text import harmless

    made = Route.read(found)
    rows = [(harmless(title.replace("\n", " ")), share) for title, share in made.shares.items()]
    shown, rest = rows[:top], rows[top:]
    width = max(len(title) for title, _ in [*shown, ("all others", 0.0)])
    scale = _BAR / max(share for _, share in shown)
    lines = [f"{title:<{width}}  {share:>6.1%}  {bar(share * scale)}".rstrip() for title, share in shown]
    if rest:
        lines.append(f"{'all others':<{width}}  {sum(share for _, share in rest):>6.1%}")
    return "\n".join([*lines, "", harmless(f"→ {made.title} ({made.confidence:.2f}): {made.why}")])
