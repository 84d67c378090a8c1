"""MiniWoB++ tasks of a single step, done by the operator with the embedded model, as a user would have them done.

A page starts its own episode, from the seed in its address, and tells its server how that ended. The task's words are
those that the page shows. Whoever is asked agrees; what counts is the page's own reward.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.browser_rig import address, miniwob, plain_browser, plain_page, serving
from bench.report import Row
from llmos.boot import Kernel
from llmos.errors import LlmosError
from llmos.kernel.calls import Approval, Reply
from llmos.runs import Parts

TASKS = (
    "buy-ticket",
    "click-button",
    "click-color",
    "click-dialog",
    "click-dialog-2",
    "click-link",
    "click-shape",
    "click-tab",
    "click-test",
    "click-test-2",
    "click-test-transfer",
    "click-widget",
    "count-shape",
    "count-sides",
    "email-inbox-delete",
    "email-inbox-important",
    "focus-text",
    "focus-text-2",
    "grid-coordinate",
    "identify-shape",
    "social-media",
    "unicode-test",
)
"""Those that one action solves."""

_SEEDS = range(201, 204)
_PATIENCE = 60.0
_STARTS = """<script>
addEventListener("load", () => {
    const seed = new URLSearchParams(location.search).get("seed");
    const end = core.endEpisode;
    core.endEpisode = (...given) => {
        const running = core.EP_TIMER !== null;
        end(...given);
        if (!running) return;
        const telling = new XMLHttpRequest();
        telling.open("GET", `/over/${seed}/${WOB_RAW_REWARD_GLOBAL}`, false);  // the page may be closed at once
        telling.send();
    };
    Math.seedrandom(Number(seed));
    core.EPISODE_MAX_TIME = 600000;
    core.startEpisodeReal();
});
</script>"""


@dataclass(slots=True)
class Tried:
    """How the episodes of one task went.

    Attributes:
        done: How many with the full reward.
        failed: Per seed, why not.
        seconds: Of each episode.
    """

    task: str
    done: int = 0
    failed: dict[int, str] = field(default_factory=dict[int, str])
    seconds: list[float] = field(default_factory=list[float])


class _Agreeing:
    """Agrees to everything, and knows nothing."""

    async def approve(self, approval: Approval, /) -> Reply:
        return "once"

    async def answer(self, pid: str, question: str, /) -> str:
        return ""


def starting(path: str, text: str) -> str:
    """A task's page that starts by itself."""
    return text.replace("</head>", f"{_STARTS}</head>", 1) if path.startswith("/miniwob/") else text


async def words_of(origin: str, tasks: Sequence[str], seeds: Sequence[int]) -> Mapping[tuple[str, int], str]:
    """What the pages of these tasks and seeds ask for."""
    said = dict[tuple[str, int], str]()
    async with plain_browser() as browser, plain_page(browser) as page:
        for task in tasks:
            for seed in seeds:
                await page.goto(f"{address(origin, task)}?seed={seed}")
                text = await page.evaluate("() => core.getUtterance()")
                said[task, seed] = text if isinstance(text, str) else text["utterance"]
    return said


async def run_tasks(kernel: Kernel, *, tasks: Sequence[str] = TASKS, seeds: Sequence[int] = _SEEDS) -> list[Tried]:
    """All tasks, each on some seeds.

    Args:
        kernel: Whose operator does them; its approver should agree.
    """
    asked, found = list[str](), list[Tried]()
    with serving(miniwob(), rewrite=starting, asked=asked) as origin:
        words = await words_of(origin, tasks, seeds)
        for task in tasks:
            tried = Tried(task)
            found.append(tried)
            for seed in seeds:
                asked.clear()
                start, problem = time.perf_counter(), ""
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await kernel.browse(
                            words[task, seed], url=f"{address(origin, task)}?seed={seed}", allow=(origin,), max_steps=10
                        )
                except (LlmosError, TimeoutError) as error:
                    problem = str(error) or "it took too long"
                tried.seconds.append(time.perf_counter() - start)
                reward = _reward(asked, seed)
                if reward is not None and reward >= 1:
                    tried.done += 1
                else:
                    tried.failed[seed] = problem or f"reward {reward}: {words[task, seed]}"
    return found


def _reward(asked: Sequence[str], seed: int) -> float | None:
    """How the first episode on a page ended; None if it did not."""
    for path in asked:
        if over := re.fullmatch(rf"/over/{seed}/(-?[\d.]+)", path):
            return float(over[1])
    return None


def operator_tasks() -> list[Row]:
    """Share of episodes with the full reward, on the embedded model."""
    return [asyncio.run(_operator_tasks())]


async def _operator_tasks() -> Row:
    with TemporaryDirectory(prefix="llmos-bench-", ignore_cleanup_errors=True) as folder:
        async with Kernel(parts=Parts(folder=Path(folder), approver=_Agreeing(), durable=False)) as kernel:
            found = await run_tasks(kernel)
    episodes = sum(len(tried.seconds) for tried in found)
    seconds = sorted(second for tried in found for second in tried.seconds)
    return Row(
        name=f"tasks with the embedded model, {len(found)} MiniWoB++ tasks of one step",
        value=100 * sum(tried.done for tried in found) / episodes,
        unit="%",
        goal="≥ 35 %",
        note=f"{episodes} episodes, {seconds[len(seconds) // 2]:.1f} s each in the median; "
        + ", ".join(f"{tried.task} {tried.done}/{len(tried.seconds)}" for tried in found),
    )


GROUPS = (operator_tasks,)
