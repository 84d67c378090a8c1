"""One thread budget for everything in the process that computes: llama.cpp, FAISS, ONNX Runtime, torch.

The forward pass uses all cores it is given, and its threads meet at a barrier hundreds of times per token: a thread
that takes a core from one of them for a millisecond delays all. So other native work runs in one background thread,
limited to that thread, at the lowest priority the system has. Knows no engine; imports none of the libraries that it
limits.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_LOWEST = 19  # the nice value of work that gets a core only when nobody else wants it


async def in_background(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run native work (embedding, indexing, training) beside a running stream, and wait for its result.

    One call runs at a time. Other cores and the stream's own are used only as far as nobody else needs them (on Linux;
    elsewhere it only keeps to one thread).
    """
    return await asyncio.get_running_loop().run_in_executor(_pool(), lambda: _limited(lambda: work(*args, **kwargs)))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "llmos-background", initializer=_lower_priority)


def _lower_priority() -> None:
    """Linux keeps a priority per thread; without privileges a thread can't raise it again, hence a thread apart."""
    if sys.platform == "linux":
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)


def _limited(work: Callable[[], T]) -> T:
    # finds the OpenMP and BLAS runtimes that are loaded by now; it has no types
    from threadpoolctl import threadpool_limits  # pyright: ignore[reportMissingTypeStubs]

    with threadpool_limits(limits=1):
        return work()
