"""What this machine has: cores, memory, instruction sets, GPUs, and the llama.cpp build that would use them.

Reads files and asks `nvidia-smi`; imports no GPU library and not llama_cpp, and is done in a few milliseconds where
there is no GPU. Knows no model: what fits is `llmos.engine.fit`.
"""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmos.engine import amx

_SMI_SECONDS = 10.0
_SYSCTL_SECONDS = 2.0
_MIB = 1 << 20
_FEATURES = {
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_int8": "amx",
    "asimd": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "sve": "sve",
}
"""Linux' name of an instruction set → ours; those that llama.cpp has kernels for."""
_APPLE = {"FEAT_DotProd": "dotprod", "FEAT_I8MM": "i8mm"}
_BACKENDS = ("cuda", "hip", "metal", "vulkan", "sycl", "opencl")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU. Sizes in bytes, 0 where the driver doesn't tell."""

    name: str
    total_bytes: int
    free_bytes: int
    driver: str = ""


@dataclass(frozen=True, slots=True)
class LlamaBuild:
    """The installed llama-cpp-python, as its files tell.

    Attributes:
        version: Of the Python package.
        folder: Its shared libraries.
        backends: What it can run on beside the CPU: `cuda`, `metal`, `vulkan`, …
    """

    version: str
    folder: Path
    backends: frozenset[str] = frozenset()

    @property
    def amx_broken(self) -> bool:
        """Whether its AMX code crashes; see `llmos.engine.amx`. Reads the library, a few milliseconds."""
        return any(amx.miscompiled(path) for path in sorted(self.folder.glob("libggml-cpu*")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One machine, as far as this process may use it. Sizes in bytes.

    Attributes:
        os: `linux`, `darwin` or `windows`.
        machine: `x86_64`, `arm64`, `aarch64`.
        cpu: Its name, for people.
        physical_cores: Cores without their hyper-threads, of those this process may run on.
        usable_cores: What affinity and the cgroup's quota leave, at least 1.
        ram_total: Memory of the machine or of the cgroup, whichever is less.
        ram_available: What can still be taken of it without swapping.
        features: Instruction sets that matter to llama.cpp.
        gpus: NVIDIA GPUs that CUDA_VISIBLE_DEVICES does not hide.
        metal: An Apple GPU, which shares the RAM.
        llama: The installed llama.cpp, None if there is none.
    """

    os: str = "linux"
    machine: str = "x86_64"
    cpu: str = ""
    physical_cores: int = 1
    usable_cores: int = 1
    ram_total: int = 0
    ram_available: int = 0
    features: frozenset[str] = frozenset()
    gpus: tuple[Gpu, ...] = ()
    metal: bool = False
    llama: LlamaBuild | None = None

    @property
    def threads(self) -> int:
        """Threads of a forward pass: hyper-threads share the arithmetic units, more than the cores is catastrophic."""
        return max(1, min(self.usable_cores, self.physical_cores))

    @property
    def offload(self) -> str:
        """What layers can be moved to: `cuda`, `metal`, or "" where GPU or build are missing."""
        backends = self.llama.backends if self.llama else frozenset[str]()
        if self.gpus and "cuda" in backends:
            return "cuda"
        return "metal" if self.metal and "metal" in backends else ""

    def summary(self) -> str:
        """One line for people."""
        parts = [f"{self.usable_cores} cores", f"{gigabytes(self.ram_available)} of {gigabytes(self.ram_total)} free"]
        parts += [f"{gpu.name} with {gigabytes(gpu.free_bytes)} free" for gpu in self.gpus]
        parts += ["Apple GPU"] if self.metal else []
        return ", ".join([self.cpu or self.machine, *parts])


def gigabytes(size: float) -> str:
    """A size in bytes for people, in units of 1,000: `1.2 GB`, `98 MB`."""
    return f"{size / 1e9:,.1f} GB" if abs(size) >= 1e9 else f"{size / 1e6:,.0f} MB"


def detect(*, root: Path = Path("/")) -> Hardware:
    """Look at this machine.

    Args:
        root: Where `/proc` and `/sys` are found; tests give their own.
    """
    total, available = _memory(root)
    cpu, features = _cpu(root)
    usable = _usable_cores(root)
    darwin = sys.platform == "darwin"
    return Hardware(
        os={"win32": "windows"}.get(sys.platform, sys.platform),
        machine=platform.machine().lower(),
        cpu=cpu,
        physical_cores=_physical_cores(root),
        usable_cores=usable,
        ram_total=total,
        ram_available=available,
        features=features,
        gpus=_nvidia(os.environ),
        metal=darwin and platform.machine() == "arm64",
        llama=find_llama(),
    )


def find_llama() -> LlamaBuild | None:
    """The installed llama-cpp-python, without importing it."""
    spec = find_spec("llama_cpp")
    for place in (spec and spec.submodule_search_locations) or ():
        package = Path(place)
        names = [path.name.lower() for path in (package / "lib").glob("*ggml-*")]
        backends = frozenset(backend for backend in _BACKENDS if any(f"ggml-{backend}" in name for name in names))
        infos = sorted(package.parent.glob("llama_cpp_python-*.dist-info"))
        version = infos[-1].name.split("-")[1].removesuffix(".dist") if infos else ""
        return LlamaBuild(version, package / "lib", backends)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    """A value of Apple's `sysctl`; "" where it has none."""
    if sys.platform != "darwin":
        return ""
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=_SYSCTL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def cpu_features(*, root: Path = Path("/")) -> frozenset[str]:
    """The instruction sets that matter to llama.cpp, see `Hardware.features`."""
    return _cpu(root)[1]


def _cpu(root: Path) -> tuple[str, frozenset[str]]:
    """Name and instruction sets. Reads Linux' list line by line: with hundreds of cores the whole takes long."""
    if sys.platform == "darwin":
        apple = {ours for theirs, ours in _APPLE.items() if _sysctl(f"hw.optional.arm.{theirs}") == "1"}
        neon = {"neon"} if platform.machine() == "arm64" else set[str]()
        return _sysctl("machdep.cpu.brand_string"), frozenset(apple | neon)
    name, flags = "", frozenset[str]()
    with suppress(OSError), (root / "proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = frozenset(value.split())
                break
    return name or platform.processor(), frozenset(_FEATURES[flag] for flag in flags if flag in _FEATURES)


def _affinity() -> frozenset[int]:
    if sys.platform == "linux":
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _usable_cores(root: Path) -> int:
    quota = min((value for group in _cgroups(root) if (value := _quota(group)) is not None), default=math.inf)
    return max(1, int(min(len(_affinity()), math.ceil(quota) if quota < math.inf else math.inf)))


def _quota(group: Path) -> float | None:
    """Cores' worth of time that a cgroup may use; None without a limit. Version 2 has one file, version 1 two."""
    both = _read(group / "cpu.max").split() or [
        _read(group / "cpu.cfs_quota_us").strip(),
        _read(group / "cpu.cfs_period_us").strip(),
    ]
    if len(both) != 2 or not both[0].isdigit() or not both[1].isdigit() or int(both[1]) == 0:
        return None
    return int(both[0]) / int(both[1])


def _cgroups(root: Path) -> Iterator[Path]:
    """The folders of this process's cgroups with all above them: the tightest limit on the way counts."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        base = mount / controllers if controllers else mount
        group = base / name.lstrip("/")
        yield from (base, *(place for place in (group, *group.parents) if base in place.parents))


def _physical_cores(root: Path) -> int:
    if sys.platform == "darwin":
        # performance cores only: the efficient ones make every step wait for them
        fast = _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu")
        return int(fast) if fast.isdigit() else os.cpu_count() or 1
    cpus = root / "sys/devices/system/cpu"
    siblings = {_read(cpus / f"cpu{cpu}/topology/thread_siblings_list").strip() for cpu in _affinity()}
    known = siblings - {""}
    return len(known) if known else max(1, len(_affinity()))


def _memory(root: Path) -> tuple[int, int]:
    """Total and available bytes, the machine's or the cgroup's."""
    found = re.finditer(r"^(\w+):\s+(\d+) kB$", _read(root / "proc/meminfo"), re.MULTILINE)
    fields = {match[1]: int(match[2]) << 10 for match in found}
    total = fields.get("MemTotal", 0)
    available = fields.get("MemAvailable", fields.get("MemFree", 0))
    if not total:
        total, available = _psutil_memory()
    for group in _cgroups(root):
        limit, left = _memory_limit(group)
        total, available = min(total, limit), min(available, left)
    return total, max(0, available)


def _psutil_memory() -> tuple[int, int]:
    psutil: Any = import_module("psutil")  # only where there is no /proc; it has no types
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _memory_limit(group: Path) -> tuple[int, int]:
    """A cgroup's limit in bytes and what is left of it; cached files can be dropped, so they count as left."""
    unlimited = (sys.maxsize, sys.maxsize)
    for limit_file, used_file, cached_key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _read(group / limit_file).strip()
        if limit.isdigit():
            used = _read(group / used_file).strip()
            cached = re.search(rf"^{cached_key} (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
            taken = (int(used) if used.isdigit() else 0) - (int(cached[1]) if cached else 0)
            return int(limit), int(limit) - max(0, taken)
    return unlimited


def _nvidia(environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return ()
    query = "--query-gpu=index,uuid,name,memory.total,memory.free,driver_version"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_SMI_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if done.returncode != 0:
        return ()
    return tuple(_visible(done.stdout.splitlines(), environment.get("CUDA_VISIBLE_DEVICES")))


def _visible(lines: Iterable[str], visible: str | None) -> Iterator[Gpu]:
    wanted = None if visible is None else [part.strip() for part in visible.split(",")]
    for line in lines:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 6:
            continue
        index, uuid, name, total, free, driver = fields
        if wanted is None or index in wanted or any(part and uuid.startswith(part) for part in wanted):
            yield Gpu(name, _mebibytes(total), _mebibytes(free), driver)


def _mebibytes(text: str) -> int:
    return int(text) * _MIB if text.isdigit() else 0
