"""`make` sets up its environment by itself: real make, real pip and real environments, with small packages in place of
the large ones."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKE = shutil.which("make") or "make"
PYTHON = Path(sys.executable).resolve()

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="set-up by make is for Linux and macOS")

# A build back end for packages of one line. The stand-in for llama.cpp says how it was compiled, and can take its time.
BACKEND = """
import os, pathlib, time, zipfile

NAME, MODULE, VERSION, NEEDS = {name!r}, {module!r}, {version!r}, {needs!r}

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    slow = pathlib.Path(os.environ["TEST_SLOW"])
    if MODULE == "llama_cpp" and slow.exists():
        slow.write_text("started")
        while slow.exists():
            time.sleep(0.05)
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    files = {{
        f"{{MODULE}}.py": "BUILD = " + repr(os.environ.get("CMAKE_ARGS", "")) + "\\n",
        f"{{info}}/METADATA": f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n{{NEEDS}}",
        f"{{info}}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    record = f"{{info}}/RECORD"
    files[record] = "".join(f"{{path}},,\\n" for path in [*files, record])
    wheel = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel

build_editable = build_wheel
"""
NEEDS = "Requires-Dist: llama-cpp-python\nProvides-Extra: dev\nRequires-Dist: devtool; extra == 'dev'\n"
BUILD_SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def backend(name: str, module: str, needs: str = "") -> str:
    """The back end of one package."""
    return BACKEND.format(name=name, module=module, version="1.0", needs=needs)


def source_package(folder: Path, name: str, module: str) -> None:
    """Put a package's source archive into a folder where pip finds it."""
    project = f'{BUILD_SYSTEM}[project]\nname = "{name}"\nversion = "1.0"\n'
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for path, content in {"pyproject.toml": project, "backend.py": backend(name, module), "PKG-INFO": ""}.items():
            data = content.encode()
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


class Checkout:
    """A small copy of this project with its real set-up, and a PATH with nothing on it but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.tools = folder / "tools"
        self.packages = folder / "packages"
        self.slow = folder / "slow"
        self.pid = folder / "pid"
        self.processes: list[subprocess.Popen[str]] = []
        for path in (self.root / "scripts", self.tools, self.packages):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", self.root)
        shutil.copy(ROOT / "scripts" / "setup.py", self.root / "scripts")
        (self.root / "constraints.txt").write_text("llama-cpp-python==1.0\n")
        (self.root / "backend.py").write_text(backend("llmos", "llmos", NEEDS))
        (self.root / "pyproject.toml").write_text(
            f'{BUILD_SYSTEM}[project]\nname = "llmos"\nversion = "1.0"\ndependencies = ["llama-cpp-python"]\n'
            '[project.optional-dependencies]\ndev = ["devtool"]\n'
        )
        for name, module in {"llama_cpp_python": "llama_cpp", "torch": "torch", "devtool": "devtool"}.items():
            source_package(self.packages, name, module)

    def tool(self, name: str, script: str = "exit 0") -> None:
        """Put a program on PATH."""
        path = self.tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def python(self, name: str = "python3") -> None:
        """Put a Python on PATH that is new enough; it writes down the process that runs set-up."""
        self.tool(name, f'test "$1" = scripts/setup.py && echo $$ > "{self.pid}"\nexec "{PYTHON}" "$@"')

    def start(self, target: str, **variables: str) -> subprocess.Popen[str]:
        """Start make in a process group of its own."""
        environ = {
            "PATH": str(self.tools),
            "HOME": str(self.root.parent),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.packages),
            "PIP_CACHE_DIR": str(self.root.parent / "pip-cache"),
            "TEST_SLOW": str(self.slow),
            # nothing is looked for outside this machine
            "https_proxy": "http://127.0.0.1:9",
            **variables,
        }
        process = subprocess.Popen(
            (MAKE, target), cwd=self.root, env=environ, stdout=-1, stderr=-1, text=True, start_new_session=True
        )
        self.processes.append(process)
        return process

    def start_compiling(self) -> subprocess.Popen[str]:
        """Start a set-up and wait until it compiles llama.cpp, which takes until `slow` is removed."""
        self.slow.write_text("")
        process = self.start("setup")
        deadline = time.monotonic() + 120
        while self.slow.read_text() != "started":
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    def make(self, target: str = "setup", **variables: str) -> tuple[int, str, str]:
        """Run make to its end: exit code, output, what it said."""
        process = self.start(target, **variables)
        output, said = process.communicate(timeout=240)
        return process.returncode, output, said

    def build(self) -> str:
        """How the llama.cpp in the environment was compiled."""
        command = (self.root / ".venv" / "bin" / "python", "-c", "import llama_cpp; print(llama_cpp.BUILD)")
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    def installed(self, package: str) -> bool:
        """Whether a package is in the environment."""
        command = (self.root / ".venv" / "bin" / "python", "-c", f"import {package}")
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout on a machine that has nothing; what runs there ends with the test."""
    checkout = Checkout(tmp_path)
    yield checkout
    checkout.slow.unlink(missing_ok=True)
    for process in checkout.processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """A checkout on a machine that has everything."""
    checkout.python()
    checkout.tool("cc")
    checkout.tool("c++")
    return checkout


def sentence(said: str) -> str:
    """What a failed set-up said, without make's own line; it must be one line."""
    lines = [line for line in said.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, said
    return lines[0]


def test_without_a_python_one_sentence_says_what_to_do(checkout: Checkout) -> None:
    code, output, said = checkout.make()
    assert (code, output) == (2, "")
    assert sentence(said).startswith("llmos needs Python 3.11 or newer, and found none: install it")
    assert not (checkout.root / ".venv").exists()


def test_an_old_python_is_as_good_as_none(checkout: Checkout) -> None:
    checkout.tool("python3", "exit 1")
    code, _, said = checkout.make()
    assert code == 2
    assert "llmos needs Python 3.11 or newer" in sentence(said)


def test_a_newer_python_beside_the_old_one_is_found(checkout: Checkout) -> None:
    checkout.tool("python3", "exit 1")
    checkout.python("python3.12")
    code, _, said = checkout.make()
    assert code == 2
    assert "compiler" in sentence(said)


def test_the_python_that_is_named_is_taken(checkout: Checkout) -> None:
    checkout.tool("python3", "exit 1")
    checkout.python("mine")
    assert "compiler" in sentence(checkout.make(PYTHON=str(checkout.tools / "mine"))[2])


def test_without_a_compiler_one_sentence_says_how_to_get_it(checkout: Checkout) -> None:
    checkout.python()
    checkout.tool("apt-get")
    code, _, said = checkout.make()
    assert code == 2
    assert "no C compiler" in sentence(said)
    assert "sudo apt-get install build-essential" in said
    assert not (checkout.root / ".venv").exists()


def test_a_compiler_that_only_asks_to_be_installed_is_none(checkout: Checkout) -> None:
    checkout.python()
    checkout.tool("cc")
    checkout.tool("c++", "exit 1")
    assert "no C++ compiler" in sentence(checkout.make()[2])


@pytest.mark.parametrize(
    ("build", "says"),
    [("rocm", "must be one of cpu, cuda, metal"), ("cuda", "nvcc is not on PATH"), ("metal", "not a Mac")],
)
def test_a_build_that_is_not_possible_is_refused(ready: Checkout, build: str, says: str) -> None:
    if build == "metal" and sys.platform == "darwin":
        pytest.skip("it is possible here")
    code, _, said = ready.make(LLMOS_BUILD=build)
    assert code == 2
    assert says in sentence(said)


def test_help_lists_the_targets_and_needs_nothing(checkout: Checkout) -> None:
    checkout.tool("sed", f'exec "{shutil.which("sed")}" "$@"')
    code, output, said = checkout.make("help")
    assert (code, said) == (0, "")
    assert {line.split()[1] for line in output.splitlines()} >= {"chat", "test", "check", "bench", "help", "clean"}


def test_set_up_is_done_once_and_again_when_something_else_is_wanted(ready: Checkout) -> None:
    code, _, said = ready.make()
    assert code == 0, said
    assert "compiling llama.cpp" in said
    assert ready.installed("llmos")
    assert not ready.installed("devtool")
    assert ready.make() == (0, "", "")

    assert ready.make("setup-dev")[0] == 0
    assert ready.installed("devtool")
    assert ready.make() == (0, "", "")

    with (ready.root / "constraints.txt").open("a") as file:
        file.write("torch==1.0\n")
    assert "set-up is done" in ready.make()[2]


def test_another_build_of_llama_cpp_takes_the_place_of_the_last_one(ready: Checkout) -> None:
    assert ready.make(LLMOS_BUILD="cpu")[0] == 0
    assert "CUDA" not in ready.build()
    ready.tool("nvcc")
    ready.tool("nvidia-smi")
    assert "llama.cpp for cuda" in ready.make()[2]
    assert ready.build() == "-DGGML_CUDA=on"
    assert ready.make() == (0, "", "")
    # what pip has cached meanwhile is not taken for the plain build
    assert ready.make(LLMOS_BUILD="cpu")[0] == 0
    assert "CUDA" not in ready.build()


def test_a_set_up_that_was_interrupted_is_finished_by_the_next(ready: Checkout) -> None:
    for sign in (signal.SIGINT, signal.SIGKILL):
        process = ready.start_compiling()
        os.killpg(process.pid, sign)
        _, said = process.communicate(timeout=60)
        assert process.returncode != 0
        if sign == signal.SIGINT:
            assert "the next make goes on from here" in said
    # as pip leaves a package when it is killed while it installs it
    info = next(ready.root.glob(".venv/lib/python*/site-packages/torch-*.dist-info"))
    (info / "INSTALLER").unlink()
    (info.parent / "torch.py").unlink()

    ready.slow.unlink()
    code, _, said = ready.make()
    assert code == 0, said
    assert ready.installed("llama_cpp")
    assert ready.installed("torch")


def test_a_set_up_waits_for_the_pip_that_a_killed_one_has_left(ready: Checkout) -> None:
    process = ready.start_compiling()
    # its pip goes on
    os.kill(int(ready.pid.read_text()), signal.SIGKILL)
    process.wait(timeout=60)

    second = ready.start("setup")
    assert second.stderr is not None
    assert "another set-up of this checkout is at work" in second.stderr.readline()
    ready.slow.unlink()
    _, said = second.communicate(timeout=240)
    assert second.returncode == 0, said
    assert ready.installed("llama_cpp")


def test_a_failing_pip_is_shown_and_does_not_count(ready: Checkout) -> None:
    (ready.packages / "llama_cpp_python-1.0.tar.gz").unlink()
    code, _, said = ready.make()
    assert code == 2
    assert "ERROR" in said
    assert "llama-cpp-python" in said
    assert "set-up failed: pip ended with 1" in said
    source_package(ready.packages, "llama_cpp_python", "llama_cpp")
    assert ready.make()[0] == 0


def test_an_environment_that_was_moved_is_made_anew(ready: Checkout) -> None:
    assert ready.make()[0] == 0
    moved = ready.root.rename(ready.root.with_name("elsewhere"))
    ready.root = moved
    assert "setting up" in ready.make()[2]
    assert str(moved) in (moved / ".venv" / "bin" / "pip").read_text().splitlines()[0]
