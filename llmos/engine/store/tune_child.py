"""Runs `tune_worker` in child processes: what llama.cpp does there can end the child, never this process.

Knows no race and no cache. Every child has a time limit, dies with this process, and is killed by whatever ends the
wait for it: an exception, or an event that is set.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from llmos.engine.gguf import GgufHeader
from llmos.engine.hardware import Hardware
from llmos.errors import EngineCrashed

FORMATS: Mapping[str, tuple[int, float]] = {
    "BF16": (32, 16.0),
    "Q8_0": (7, 8.5),
    "Q6_K": (18, 6.6),
    "Q5_K_M": (17, 5.7),
    "Q4_K_M": (15, 4.9),
    "IQ4_NL": (25, 4.5),
    "Q4_0": (2, 4.55),
}
"""Format → llama.cpp's `llama_ftype` and about the bits per weight."""

_TEXT = Path(__file__).with_name("tune_text.txt")
_GIGABYTE = 1_000_000_000
_LOOK_SECONDS = 0.1
_ATTENTION_SECONDS = 120.0


def quantize(header: GgufHeader, target: Path, name: str, *, threads: int) -> None:
    """Write a model in another format.

    Raises:
        EngineCrashed: llama.cpp could not.
    """
    job = ["quantize", str(header.path), str(target), "--ftype", str(FORMATS[name][0]), "--threads", str(threads)]
    _run(job, f"making {name} of {header.path.name!r}", seconds=_patience(header))


def requantize(
    header: GgufHeader, target: Path, name: str, *, limit: int, threads: int, stop: threading.Event | None = None
) -> tuple[float, float]:
    """Write a model in another format; the perplexities of both over the first `limit` tokens of the text.

    Raises:
        EngineCrashed: llama.cpp could not, or it was told to stop.
    """
    job = ["requantize", str(header.path), str(target), "--ftype", str(FORMATS[name][0]), "--threads", str(threads)]
    job += ["--text", str(_TEXT), "--limit", str(limit)]
    figures = _run(job, f"making {name} of {header.path.name!r}", seconds=_patience(header), stop=stop)
    return figures["before"], figures["after"]


def measure(header: GgufHeader, file: Path, *, limit: int, speed: bool, hardware: Hardware) -> Mapping[str, float]:
    """`perplexity` over the first `limit` tokens of the text (none if 0); with `speed` also tokens per second.

    Raises:
        EngineCrashed: llama.cpp could not.
    """
    job = ["measure", str(file), "--text", str(_TEXT), "--limit", str(limit), "--threads", str(hardware.threads)]
    job += ["--gpu-layers", "999" if hardware.offload else "0"]
    job += ["--speed"] if speed else []
    return _run(job, f"measuring {file.name!r}", seconds=_patience(header))


def compare_attention(path: Path, *, threads: int, stop: threading.Event | None = None) -> Mapping[str, float]:
    """Seconds of a step with plain and with flash attention: `one_plain`, `one_flash`, `many_plain`, `many_flash`.

    Raises:
        EngineCrashed: llama.cpp could not, or it was told to stop.
    """
    job = ["attention", str(path), "--text", str(_TEXT), "--threads", str(threads)]
    return _run(job, "comparing kinds of attention", seconds=_ATTENTION_SECONDS, stop=stop)


def _patience(header: GgufHeader) -> float:
    """Seconds after which a child hangs: many times what it takes on two slow cores."""
    return 300 + 600 * header.parameters / _GIGABYTE


def _run(job: Sequence[str], what: str, *, seconds: float, stop: threading.Event | None = None) -> Mapping[str, float]:
    """Run the worker to its end, or kill it. In a session of its own, so that Ctrl-C reaches the parent alone."""
    command = [sys.executable, "-P", "-m", "llmos.engine.store.tune_worker", *job]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise EngineCrashed(f"Can't start a process for {what}: {error}.") from error
        try:
            code = _waited(child, what, seconds=seconds, stop=stop)
        finally:
            child.kill()
            child.wait()
            if child.stdin:
                child.stdin.close()
        out.seek(0)
        err.seek(0)
        if code == 0:
            return _figures(out.read(), what)
        last = next((line.strip() for line in reversed(err.read().splitlines()) if line.strip()), "it said nothing")
        raise EngineCrashed(f"{what[0].upper()}{what[1:]} failed ({_ending(code)}): {last}")


def _waited(child: subprocess.Popen[bytes], what: str, *, seconds: float, stop: threading.Event | None) -> int:
    """A child's exit code.

    Raises:
        EngineCrashed: It takes too long, or was told to stop.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return child.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        if stop is not None and stop.is_set():
            raise EngineCrashed(f"{what[0].upper()}{what[1:]} was stopped.")
        if time.monotonic() > end:
            raise EngineCrashed(f"{what[0].upper()}{what[1:]} took over {seconds:,.0f} s and was stopped.")


def _figures(text: str, what: str) -> Mapping[str, float]:
    try:
        return {str(name): float(value) for name, value in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise EngineCrashed(f"{what[0].upper()}{what[1:]} answered {text[:80]!r}.") from error


def _environment() -> dict[str, str]:
    """Lets the child find this very llmos, also where it is not installed, without looking into the current folder.

    Its threads sleep while they wait for each other: awake they would count waiting as work, and on a busy machine
    take three times as long.
    """
    root = str(Path(__file__).resolve().parents[3])
    before = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(part for part in (before, root) if part)
    return {**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": path}


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
