"""Runs blocking functions of tools beside the event loop, so that one that hangs delays nobody.

A thread can't be stopped: when its caller gives up it is left behind, as a daemon, and its outcome is dropped. That is
why this is no thread pool, which a few hanging functions would fill and which Python waits for when it exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T], *, name: str = "tool", ended: Callable[[], None] | None = None) -> T:
    """Call a function in a thread of its own, with the caller's context variables.

    Args:
        function: What to call.
        name: The thread's name.
        ended: Called in that thread when the function has ended, even if nobody waits any more.

    Raises:
        BaseException: Whatever the function raises, `SystemExit` too.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()
    results: list[T] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()

    def work() -> None:
        try:
            results.append(context.run(function))
        except BaseException as error:
            # all of it belongs to the caller, who may be gone
            errors.append(error)
        finally:
            if ended:
                ended()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(wake)

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    threading.Thread(target=work, name=name, daemon=True).start()
    await waiting
    if errors:
        raise errors[0]
    return results[0]
