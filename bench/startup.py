"""How soon the command line answers: a process's own time to its help, and to the REPL's prompt on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

_PROMPT = b"> "


def help_seconds() -> float:
    """Wall seconds of `llmos --help`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "llmos", "--help"], check=True, capture_output=True, timeout=30)
    return time.perf_counter() - start


def prompt_seconds() -> float:
    """Wall seconds from the start of `llmos` to its prompt on a pseudo-terminal."""
    start = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", "llmos"])
    try:
        return _until_prompt(terminal) - start
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)


def _until_prompt(terminal: int) -> float:
    seen = b""
    deadline = time.perf_counter() + 30
    while time.perf_counter() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1.0)
        if ready:
            chunk = os.read(terminal, 65536)
            if b"\x1b[6n" in chunk:  # prompt_toolkit asks where the cursor is, as a terminal would tell it
                os.write(terminal, b"\x1b[1;1R")
            seen += chunk
            if _PROMPT in seen:
                return time.perf_counter()
    raise TimeoutError("the REPL showed no prompt within 30 s")
