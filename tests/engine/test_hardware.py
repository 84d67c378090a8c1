"""What is read from `/proc`, `/sys` and `nvidia-smi`; from trees of real files, and once from this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.engine import amx
from llmos.engine.hardware import Gpu, Hardware, LlamaBuild, cpu_features, detect, find_llama, gigabytes

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' files")

CPUINFO = """processor\t: 0
model name\t: Some Processor
flags\t\t: fpu avx avx2 avx512f avx512_vnni amx_int8
processor\t: 1
"""
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         100000 kB\nMemAvailable:    8000000 kB\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return write(tmp_path, {"proc/cpuinfo": CPUINFO, "proc/meminfo": MEMINFO})


def test_this_machine_has_cores_memory_and_a_llama_build() -> None:
    found = detect()
    assert 1 <= found.threads <= found.usable_cores <= (os.cpu_count() or 1)
    assert 0 < found.ram_available <= found.ram_total
    assert found.llama is not None
    assert found.llama.version
    assert found.summary()


def test_looking_at_the_machine_imports_nothing_heavy() -> None:
    program = "import sys; from llmos.engine.hardware import detect; detect(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"llama_cpp", "numpy", "psutil", "torch"} & set(done.stdout.split())


@linux
def test_the_processor_is_named_with_its_instruction_sets(machine: Path) -> None:
    found = detect(root=machine)
    assert found.cpu == "Some Processor"
    assert found.features == {"avx", "avx2", "avx512", "avx512_vnni", "amx"}
    assert cpu_features(root=machine) == found.features


@linux
def test_arm_processors_list_features_instead_of_flags(tmp_path: Path) -> None:
    write(tmp_path, {"proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp i8mm\n"})
    assert cpu_features(root=tmp_path) == {"neon", "dotprod", "i8mm"}


@linux
def test_memory_is_what_the_system_says_is_available(machine: Path) -> None:
    found = detect(root=machine)
    assert found.ram_total == 16_000_000 * 1024
    assert found.ram_available == 8_000_000 * 1024


@linux
@pytest.mark.parametrize("limited", ["", "/user/job"])
def test_a_limit_of_the_cgroup_or_of_one_above_it_counts(machine: Path, limited: str) -> None:
    group = "sys/fs/cgroup" + limited
    write(
        machine,
        {
            "proc/self/cgroup": "0::/user/job\n",
            f"{group}/memory.max": str(4 << 30),
            f"{group}/memory.current": str(3 << 30),
            f"{group}/memory.stat": f"anon 1\ninactive_file {1 << 30}\n",
            f"{group}/cpu.max": "50000 100000\n",
        },
    )
    found = detect(root=machine)
    assert found.ram_total == 4 << 30
    assert found.ram_available == 2 << 30
    assert found.usable_cores == 1


@linux
def test_limits_of_the_first_version_of_cgroups_count_too(machine: Path) -> None:
    write(
        machine,
        {
            "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(2 << 30),
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(1 << 30),
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        },
    )
    found = detect(root=machine)
    assert (found.ram_total, found.ram_available) == (2 << 30, 1 << 30)
    assert found.usable_cores == 1


@linux
def test_no_limit_leaves_everything(machine: Path) -> None:
    write(
        machine,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
        },
    )
    found = detect(root=machine)
    assert found.ram_total == 16_000_000 * 1024
    assert found.usable_cores == len(os.sched_getaffinity(0))


@linux
def test_hyper_threads_of_one_core_count_once(machine: Path) -> None:
    for cpu in os.sched_getaffinity(0):
        write(machine, {f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": "0-255\n"})
    found = detect(root=machine)
    assert found.physical_cores == 1
    assert found.threads == 1


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


LINES = r"printf '0, GPU-aa, Card A, 24576, 20000, 580.1\n1, GPU-bb, Card B, [N/A], [N/A], 580.1\n'"


@linux
def test_nvidia_gpus_are_listed_with_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, LINES)
    mib = 1 << 20
    assert detect().gpus == (
        Gpu("Card A", 24576 * mib, 20000 * mib, "580.1"),
        Gpu("Card B", 0, 0, "580.1"),
    )


@linux
@pytest.mark.parametrize(
    ("visible", "names"),
    [("", []), ("-1", []), ("1", ["Card B"]), ("GPU-aa", ["Card A"]), ("0,1", ["Card A", "Card B"])],
)
def test_hidden_gpus_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    smi(tmp_path, monkeypatch, LINES)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in detect().gpus] == names


@linux
@pytest.mark.parametrize("script", ["exit 9", "echo no devices were found"])
def test_a_driver_that_fails_means_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    smi(tmp_path, monkeypatch, script)
    assert detect().gpus == ()


def test_layers_go_only_to_a_gpu_that_the_build_supports() -> None:
    gpu = Gpu("Card", 8 << 30, 8 << 30)
    plain, cuda = LlamaBuild("1", Path()), LlamaBuild("1", Path(), frozenset({"cuda"}))
    assert Hardware(gpus=(gpu,), llama=cuda).offload == "cuda"
    assert Hardware(gpus=(gpu,), llama=plain).offload == ""
    assert Hardware(llama=cuda).offload == ""
    assert Hardware(gpus=(gpu,)).offload == ""
    assert Hardware(metal=True, llama=LlamaBuild("1", Path(), frozenset({"metal"}))).offload == "metal"


@pytest.mark.parametrize(
    ("compiler", "breaks"),
    [
        ("12.2.0", True),
        ("11.4.0", True),
        ("11.5.0", False),
        ("12.4.0", False),
        ("13.2.1", True),
        ("13.3.0", False),
        ("14.1.0", False),
        ("15.2.0", False),
    ],
)
def test_amx_code_is_distrusted_by_the_version_of_its_compiler(tmp_path: Path, compiler: str, breaks: bool) -> None:
    library = tmp_path / "libggml-cpu.so"
    library.write_bytes(b"\x7fELF AMX is not ready to be used!\0GCC: (Debian 1-2) " + compiler.encode() + b"\0")
    assert amx.miscompiled(library) is breaks
    assert LlamaBuild("1", tmp_path).amx_broken is breaks


def test_a_build_without_amx_code_is_sound_whatever_the_compiler(tmp_path: Path) -> None:
    library = tmp_path / "libggml-cpu.so"
    library.write_bytes(b"\x7fELF\0GCC: (Debian 1-2) 12.2.0\0")
    assert not amx.miscompiled(library)


@pytest.mark.model
def test_a_prompt_runs_in_a_process_that_keeps_broken_amx_off() -> None:
    program = (
        "import llama_cpp\nfrom llmos.engine import amx\nstate = amx.keep_off()\n"
        "from llmos.engine.store.builtin import find\n"
        "model = llama_cpp.Llama(str(find().path), n_ctx=128, n_threads=1, verbose=False)\n"
        "model.eval(list(range(100, 164)))\nprint(state, model.n_tokens, amx.keep_off())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    state, tokens, again = done.stdout.split()
    assert tokens == "64"
    assert state == again
    assert state in ("absent", "sound", "off")


def test_the_installed_llama_is_found_without_importing_it() -> None:
    build = find_llama()
    assert build is not None
    assert build.folder.is_dir()
    assert build.version[0].isdigit()


def test_sizes_are_written_for_people() -> None:
    assert gigabytes(1_234_000_000) == "1.2 GB"
    assert gigabytes(98_362_432) == "98 MB"
