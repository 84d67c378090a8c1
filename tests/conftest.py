"""What holds for every test: its own home, no network, few threads, and a real model only where a test says so."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

FORBIDDEN = "LLMOS_FORBID_REAL_MODELS"
# A port that answers at once that nobody is there.
NOWHERE = "http://127.0.0.1:9"


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported: libraries read these variables when they are."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: what tests start would ignore it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # xdist hands its environment on, so that the workers share one home: a model is prepared once for all of them
    home = os.environ.get("LLMOS_TEST_HOME")
    if home is None:
        folder = tempfile.TemporaryDirectory(prefix="llmos-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        home = os.environ["LLMOS_TEST_HOME"] = folder.name
    for name in [name for name in os.environ if name.startswith("LLMOS_") and name != "LLMOS_TEST_HOME"]:
        del os.environ[name]
    os.environ |= own_places(Path(home)) | thread_limits()
    os.environ[FORBIDDEN] = "1"


def own_places(home: Path) -> dict[str, str]:
    """Where llmos and the libraries it uses keep things: nothing is read from or left in the home of a person."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    (home / worker).mkdir(exist_ok=True)
    (home / "cache").mkdir(exist_ok=True)
    cache = home / worker / "cache"
    if not cache.is_symlink():
        cache.symlink_to(home / "cache", target_is_directory=True)
    return {
        "LLMOS_HOME": str(home / worker),
        "HF_HOME": str(home / worker / "huggingface"),
        "HF_ENDPOINT": NOWHERE,
        "OLLAMA_MODELS": str(home / worker / "ollama"),
        "NO_PROXY": "127.0.0.1,localhost",
    }


def thread_limits() -> dict[str, str]:
    """Workers share the cores: threads that fight for one wait for each other at every operation. Waiting sleeps."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    threads = max(1, (os.cpu_count() or 1) // workers)
    return {"OMP_THREAD_LIMIT": str(threads), "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Allow a real model to tests marked `model`, before their fixtures are made."""
    if item.get_closest_marker("model"):
        os.environ.pop(FORBIDDEN, None)
    else:
        os.environ[FORBIDDEN] = "1"
