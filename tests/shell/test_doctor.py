"""What `llmos doctor` says about machines of all kinds, and about this one."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from llmos.engine.hardware import Gpu, Hardware, LlamaBuild
from llmos.kernel.journal import Journal
from llmos.runs import forget_run
from llmos.shell import doctor
from llmos.shell.doctor import Check

GPU = Gpu("Card", 24 << 30, 20 << 30, "580.1")


def by_name(found: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in found}


def test_this_machine_can_run_llmos(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run() == 0
    shown = capsys.readouterr().out
    for name in ("Python", "llama.cpp", "memory", "model", "browser"):
        assert name in shown


def test_json_holds_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"name", "status", "detail", "fix"} == set(found[0])
    assert {check["status"] for check in found} <= {"ok", "warn", "missing"}


def test_a_missing_llama_is_named_with_the_command_that_gets_it() -> None:
    found = by_name(list(doctor.check_llama(Hardware())))
    assert found["llama.cpp"].status == "missing"
    assert "pip install llama-cpp-python" in found["llama.cpp"].fix


def test_a_missing_llama_on_a_machine_with_a_gpu_is_installed_with_cuda() -> None:
    (check,) = doctor.check_llama(Hardware(gpus=(GPU,)))
    assert "-DGGML_CUDA=on" in check.fix


def test_a_gpu_that_the_build_can_not_use_is_explained(tmp_path: Path) -> None:
    found = by_name(list(doctor.check_llama(Hardware(gpus=(GPU,), llama=LlamaBuild("0.3.36", tmp_path)))))
    assert found["GPU"].status == "warn"
    assert "without support" in found["GPU"].detail
    assert 'CMAKE_ARGS="-DGGML_CUDA=on"' in found["GPU"].fix


def test_a_gpu_in_use_is_fine(tmp_path: Path) -> None:
    build = LlamaBuild("0.3.36", tmp_path, frozenset({"cuda"}))
    found = by_name(list(doctor.check_llama(Hardware(gpus=(GPU,), llama=build))))
    assert found["GPU"].status == "ok"
    assert "cuda" in found["GPU"].detail


def test_instruction_sets_that_the_build_leaves_unused_are_a_warning(tmp_path: Path) -> None:
    hardware = Hardware(features=frozenset({"i8mm", "dotprod"}), llama=LlamaBuild("0.3.36", tmp_path))
    check = by_name(list(doctor.check_llama(hardware)))["instruction sets"]
    if "MATMUL_INT8 = 1" not in (
        subprocess.run(
            [sys.executable, "-c", doctor.__dict__["_SYSTEM_INFO"]],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    ):
        assert check.status == "warn"
        assert "MATMUL_INT8" in check.detail
        assert "GGML_NATIVE" in check.fix


def test_broken_amx_is_explained(tmp_path: Path) -> None:
    (tmp_path / "libggml-cpu.so").write_bytes(b"AMX is not ready\0GCC: (Debian 1) 12.2.0\0")
    hardware = Hardware(features=frozenset({"amx"}), llama=LlamaBuild("0.3.36", tmp_path))
    check = by_name(list(doctor.check_llama(hardware)))["AMX"]
    assert check.status == "warn"
    assert "114098" in check.detail


def test_an_old_python_is_missing() -> None:
    assert doctor.check_python((3, 10)).status == "missing"
    assert doctor.check_python((3, 11)).status == "ok"


def test_a_compiler_is_needed_only_while_llama_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_compiler(True).status == "warn"
    assert doctor.check_compiler(False).status == "missing"


def test_short_memory_is_a_warning_with_the_numbers() -> None:
    check = doctor.check_memory(Hardware(ram_total=10**9, ram_available=5 * 10**8))
    assert check.status == "warn"
    assert "1.0 GB" in check.detail


def test_what_runs_take_and_how_long_they_are_kept_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    assert doctor.check_runs().detail == "none yet; contents are kept for 90 days and up to 2 GB"
    assert list(tmp_path.iterdir()) == []
    for run in ("old", "new"):
        with closing(Journal(tmp_path / "data")) as journal:
            journal.open_run(run, owner="me", agent="a", task="{}")
            journal.close_run(run, "done", f'"{"x" * 3_000_000}"')
    forget_run(tmp_path / "data", "old")
    (tmp_path / "config.toml").write_text("runs = {keep_days = 7, keep_bytes = 0}")
    check = doctor.check_runs()
    assert (check.status, check.detail) == (
        "ok",
        "2 on record, 1 of them forgotten; they take 3 MB; contents are kept for 7 days",
    )
    (tmp_path / "config.toml").write_text("runs = {keep_days = 'long'}")
    assert (doctor.check_runs().status, doctor.check_runs().fix) == (
        "warn",
        "Allowed is a whole number of days; 0 is for ever.",
    )


def test_it_works_where_llama_and_all_heavy_packages_are_missing(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('llama_cpp', 'numpy', 'playwright', 'torch', 'httpx', 'huggingface_hub'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "from llmos.engine import hardware\n"
        "from llmos.shell import doctor\n"
        "hidden = lambda name: None if name in ('llama_cpp', 'playwright') else find(name)\n"
        "hardware.find_spec = doctor.find_spec = hidden\n"
        "sys.exit(doctor.run())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "llama-cpp-python is not installed" in done.stdout
    assert "Playwright is not installed" in done.stdout


def test_a_browser_that_can_not_be_downloaded_is_an_error_that_names_other_ways(tmp_path: Path) -> None:
    # nothing listens on port 9, and no browser is in these places
    nowhere = {
        "PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:9",
        "LLMOS_HOME": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "llmos", "doctor", "--install-browser"],
        env=nowhere, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "apt install chromium" in done.stderr
    assert "Traceback" not in done.stderr
