"""Makes `.venv` with everything llmos needs; the Makefile calls it before each target.

It does nothing if all is as `pyproject.toml` and `constraints.txt` want it, and goes on where an interrupted run was.
Needs the standard library alone, and knows nothing about llmos itself.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = VENV / "llmos-setup.json"
LOG = VENV / "llmos-setup.log"

CMAKE_ARGS = {"cpu": "-DGGML_METAL=off" if sys.platform == "darwin" else "", "cuda": "-DGGML_CUDA=on", "metal": ""}
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
COMPILER_PACKAGES = {
    "apt-get": "sudo apt-get install build-essential",
    "dnf": "sudo dnf install gcc-c++",
    "pacman": "sudo pacman -S base-devel",
    "zypper": "sudo zypper install gcc-c++",
    "apk": "sudo apk add build-base",
    "xcode-select": "xcode-select --install",
}
# an environment is sound if its Python runs and its pip was installed to the end
SOUND = """
import importlib.metadata, sys
sys.exit(sys.version_info < (3, 11) or not importlib.metadata.distribution("pip").read_text("INSTALLER"))
"""
SECONDS_BETWEEN_SIGNS = 30
SECONDS_FOR_ANOTHER_SETUP = 3600


class SetupError(Exception):
    """Set-up can't go on; the message is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class State:
    """What stands in `.venv`, kept in `STATE`.

    Attributes:
        root: The checkout that it was made for: an environment that was moved or copied does not work.
        build: Which build of llama.cpp is in it, empty before the first one is.
        digest: What was wanted when all of it was installed, empty before that.
        dev: Whether the development tools are in it, too.
    """

    root: str = ""
    build: str = ""
    digest: str = ""
    dev: bool = False

    @classmethod
    def read(cls) -> State:
        """What `STATE` says; an empty state if it is missing or damaged."""
        try:
            return cls(**json.loads(STATE.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self) -> None:
        """Keep it, so that it is either the old state or the new one, whenever this process is killed."""
        partial = STATE.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(STATE)


def main() -> int:
    """Set up, say what is being done on stderr, and return the exit code."""
    parser = argparse.ArgumentParser(description="Make .venv with everything llmos needs.")
    parser.add_argument("--dev", action="store_true", help="with the tools for tests and checks")
    dev: bool = parser.parse_args().dev
    try:
        build = choose_build(os.environ)
        digest = wanted(build)
        if not is_ready(digest, dev=dev):
            with lock() as held:
                if not is_ready(digest, dev=dev):
                    set_up(build, digest, held, dev=dev)
    except SetupError as error:
        say(f"set-up failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("set-up was stopped; the next make goes on from here.")
        return 130
    return 0


def say(text: str) -> None:
    """Tell the person."""
    print(text, file=sys.stderr, flush=True)


def choose_build(environ: Mapping[str, str]) -> str:
    """`cpu`, `cuda` or `metal`: what `LLMOS_BUILD` says, else the best that this machine can compile and run."""
    asked = environ.get("LLMOS_BUILD", "")
    has_metal = sys.platform == "darwin" and platform.machine() == "arm64"
    if not asked:
        if has_metal:
            return "metal"
        return "cuda" if shutil.which("nvidia-smi") and shutil.which("nvcc") else "cpu"
    if asked not in CMAKE_ARGS:
        raise SetupError(f"LLMOS_BUILD is {asked!r}, but must be one of {', '.join(CMAKE_ARGS)}.")
    if asked == "cuda" and not shutil.which("nvcc"):
        raise SetupError("LLMOS_BUILD is 'cuda', but nvcc is not on PATH: install the CUDA toolkit or add it to PATH.")
    if asked == "metal" and not has_metal:
        raise SetupError("LLMOS_BUILD is 'metal', but this is not a Mac with Apple silicon: leave LLMOS_BUILD out.")
    return asked


def wanted(build: str) -> str:
    """A digest of everything that decides what belongs into `.venv`."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    parts = (
        str(ROOT),
        build,
        json.dumps([project["project"], project["build-system"]], sort_keys=True),
        (ROOT / "constraints.txt").read_text(encoding="utf-8"),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_ready(digest: str, *, dev: bool) -> bool:
    """Whether `.venv` already holds what is wanted."""
    state = State.read()
    return state.digest == digest and state.dev >= dev and PYTHON.exists()


@contextlib.contextmanager
def lock() -> Generator[int]:
    """Keep a second set-up out.

    The lock is on this very file, so that none is left lying about, and pip inherits it: a pip that outlives its killed
    set-up is waited for.
    """
    with Path(__file__).open("rb") as file:
        if not try_lock(file):
            say("another set-up of this checkout is at work; waiting for it …")
            deadline = time.monotonic() + SECONDS_FOR_ANOTHER_SETUP
            while not try_lock(file):
                if time.monotonic() > deadline:
                    raise SetupError("another set-up of this checkout does not end: stop it and run make again.")
                time.sleep(0.5)
        yield file.fileno()


def try_lock(file: IO[bytes]) -> bool:
    """Take the lock on an open file, or return False at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def set_up(build: str, digest: str, held: int, *, dev: bool) -> None:
    """Make the environment and install into it; each step finds out what an earlier run has left to do."""
    check_tools()
    say(f"setting up .venv with Python {platform.python_version()}, llama.cpp for {build} …")
    state = make_venv()
    remove_half_installed()

    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--constraint", "constraints.txt"]
    if sys.platform == "linux":
        say("installing torch (its CPU build, if it can be had) …")
        run([*pip, "--no-deps", *torch_index(), "torch"], held)

    say("compiling llama.cpp, about five minutes on two cores (longer for CUDA); this happens once …")
    cmake_args = f"{CMAKE_ARGS[build]} {os.environ.get('CMAKE_ARGS', '')}".strip()
    run([*pip, *llama_options(state.build, build, cmake_args), "llama-cpp-python"], held, cmake_args)
    State(root=str(ROOT), build=build).write()

    say("installing the other packages …")
    run([*pip, "--editable", ".[dev]" if dev else "."], held)
    State(root=str(ROOT), build=build, digest=digest, dev=dev).write()
    say("set-up is done.")


def check_tools() -> None:
    """Raise a `SetupError` that says how to get what is missing."""
    install = next((how for tool, how in COMPILER_PACKAGES.items() if shutil.which(tool)), "see your system's handbook")
    for language, names in {
        "C": (os.environ.get("CC", ""), "cc", "gcc", "clang"),
        "C++": (os.environ.get("CXX", ""), "c++", "g++", "clang++"),
    }.items():
        if not any(name and works(name.split()[0], "--version") for name in names):
            raise SetupError(f"there is no {language} compiler to build llama.cpp with: install one ({install}).")
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"{sys.executable} can't make virtual environments: install its venv module (on Debian and Ubuntu: "
            "sudo apt-get install python3-venv)."
        )


def works(*command: str) -> bool:
    """Whether a command can be run and succeeds. On macOS a compiler may be there that only asks to be installed."""
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def make_venv() -> State:
    """An environment with a pip that runs: the one that is there if it is sound, else a new one."""
    state = State.read()
    moved = state.root not in ("", str(ROOT))
    if moved or not works(str(PYTHON), "-c", SOUND):
        if VENV.is_symlink():
            raise SetupError(f"{VENV} is a link to an environment that does not work: remove it.")
        # with .venv activated this Python is its own link to the one it was made with
        python = Path(sys.executable).resolve() if sys.prefix == str(VENV) else sys.executable
        command = [str(python), "-m", "venv", "--clear", str(VENV)]
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if made.returncode != 0:
            raise SetupError(f"{' '.join(command)} failed: {(made.stderr or made.stdout).strip()}")
        state = State()
    # from here on it counts as unfinished
    state = State(root=str(ROOT), build=state.build)
    state.write()
    return state


def remove_half_installed() -> None:
    """Take out what a killed pip has left: pip would believe that such a package is installed.

    pip writes `INSTALLER` after all other files of a package; it renames packages that it removes to `~…`.
    """
    for packages in VENV.glob("lib/python*/site-packages"):
        halves = [info for info in packages.glob("*.dist-info") if not (info / "INSTALLER").exists()]
        for path in [*halves, *packages.glob("~*")]:
            shutil.rmtree(path, ignore_errors=True)


def torch_index() -> list[str]:
    """pip's options for torch without its gigabytes of CUDA libraries, which only its own index offers for Linux."""
    import urllib.request  # late, because it takes longer than all else there is to do most times

    try:
        with urllib.request.urlopen(f"{TORCH_CPU_INDEX}/torch/", timeout=5):
            return ["--extra-index-url", TORCH_CPU_INDEX]
    except OSError:
        return []


def llama_options(installed: str, build: str, cmake_args: str) -> list[str]:
    """pip's options that get this build and no other one.

    pip's cache does not tell builds apart, so only the plain one may come from there or go there.
    """
    options = ["--no-cache-dir"] if cmake_args else []
    if installed != build and (installed or cmake_args):
        options += ["--force-reinstall", "--no-deps"]
    return options


def run(command: list[str], held: int, cmake_args: str = "") -> None:
    """Run pip with its output in `LOG`, with a sign of life now and then.

    Raises:
        SetupError: It failed; the end of what it said is shown.
    """
    environ = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1), **os.environ, "CMAKE_ARGS": cmake_args}
    with LOG.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log, pass_fds=(held,))
        try:
            wait(process)
        finally:
            end(process)
    if process.returncode != 0:
        for line in LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]:
            say(f"  {line}")
        raise SetupError(f"pip ended with {process.returncode}; all that it said is in {LOG}.")


def wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process and say now and then for how long."""
    start = time.monotonic()
    while True:
        try:
            process.wait(timeout=SECONDS_BETWEEN_SIGNS)
            return
        except subprocess.TimeoutExpired:
            say(f"  … {time.monotonic() - start:.0f} s")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that may still run."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
