"""What is shown while the user waits: for a model that loads, or for an answer of which nothing can be seen yet.

On stderr, and moving only on a terminal. Knows no chat.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from llmos.boot import Kernel
from llmos.config import Settings
from llmos.errors import LlmosError
from llmos.kernel.protocols import Engine
from llmos.messages import EngineInfo

PREPARES = "the first start prepares the model for this processor"
_PATIENCE_SECONDS = 0.4
_PICTURE_SECONDS = 0.25


def prepares(settings: Settings) -> bool:
    """Whether opening the model first makes a form of it, which happens once: one that has its microcode, or one that
    runs faster here.

    Looks at the model store and the hardware: takes a moment.
    """
    if (settings.model or "").startswith(("scripted:", "http://", "https://")):
        return False
    from llmos.engine import store
    from llmos.engine.store import microcode
    from llmos.engine.store.tune import is_quick_due

    try:
        model = store.resolve(settings.model or store.current(), tuned=False)
        setting = microcode.OFF if settings.engine.adapters else settings.engine.microcode
        if microcode.merged_path(model.path, setting=setting):
            return False
        return microcode.is_due(model.path, setting=setting) or (model.source == "builtin" and is_quick_due(model.path))
    except LlmosError:  # whoever opens it will say so
        return False


async def loaded(kernel: Kernel, *, notice: Callable[[str], None]) -> Engine:
    """The engine of a kernel once it is loaded; until then a terminal shows what is going on.

    Args:
        notice: Told if the model is prepared first, and why it runs without microcode.

    Raises:
        LlmosError: It can't be loaded.
    """
    kernel.start()
    doing = "loading the model"
    if await asyncio.to_thread(prepares, kernel.settings):
        notice(PREPARES)
        doing = "preparing the model"
    async with shown(lambda: doing):
        engine = await kernel.engine()
    if missing := without_microcode(engine.info):
        notice(missing)
    return engine


def without_microcode(info: EngineInfo) -> str:
    """Why a model runs without the microcode that was wanted; "" where it has it, or none was wanted."""
    said = info.details.get("microcode", "")
    return f"microcode is {said}" if said.startswith("off: ") else ""


def say(text: str) -> None:
    """Tell something on stderr."""
    print(text, file=sys.stderr, flush=True)


@asynccontextmanager
async def shown(text: Callable[[], str]) -> AsyncGenerator[None]:
    """On a terminal: say on stderr what is going on, and for how long, while a block runs. Gone afterwards."""
    painter = asyncio.create_task(_paint(text)) if sys.stderr.isatty() else None
    try:
        yield
    finally:
        if painter is not None:
            painter.cancel()
            await asyncio.wait({painter})


async def _paint(text: Callable[[], str]) -> None:
    begun = time.monotonic()
    await asyncio.sleep(_PATIENCE_SECONDS)
    from rich.console import Console
    from rich.text import Text

    def picture() -> Text:
        return Text(f"{text()} · {time.monotonic() - begun:.0f} s", style="dim")

    with Console(stderr=True).status(picture()) as status:
        while True:
            await asyncio.sleep(_PICTURE_SECONDS)
            status.update(picture())
