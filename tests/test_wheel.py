"""What is built is what is in the repository, and it runs where nothing else is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return its output; what it says is shown if it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def listed_by_git(*where: str) -> set[str]:
    """Files of the checkout that git knows, and new ones it does not ignore."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("compares with git, and this is not a git checkout")
    listing = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *where, cwd=ROOT)
    return {name for name in listing.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    # built from a copy: an old `build` folder in the checkout would put files into the wheel that are long gone
    source = tmp_path_factory.mktemp("source")
    for name in sorted(listed_by_git()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ".", cwd=source)
    return out


def only(names: Sequence[Path]) -> Path:
    """The one and only."""
    assert len(names) == 1, names
    return names[0]


def test_the_wheel_holds_exactly_the_files_that_git_lists(built: Path) -> None:
    with zipfile.ZipFile(only(list(built.glob("*.whl")))) as wheel:
        files = {name for name in wheel.namelist() if not name.startswith(f"llmos-{VERSION}.dist-info/")}
    assert files == listed_by_git("llmos")


def test_the_source_distribution_holds_the_whole_package(built: Path) -> None:
    with tarfile.open(only(list(built.glob("*.tar.gz")))) as archive:
        files = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
        assert not [member.name for member in archive.getmembers() if member.issym() or member.islnk()]
    package = {name for name in files if name.startswith("llmos/")}
    assert package == listed_by_git("llmos")
    assert {"README.md", "LICENSE", "pyproject.toml"} <= files


def test_the_wheel_installs_no_package_but_llmos(built: Path) -> None:
    """A wheel with top-level packages named tools, agents or memory overwrites those of other projects."""
    with zipfile.ZipFile(only(list(built.glob("*.whl")))) as wheel:
        assert {name.split("/")[0] for name in wheel.namelist()} == {"llmos", f"llmos-{VERSION}.dist-info"}


def test_the_wheel_runs_in_an_empty_environment_from_another_folder(built: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    wheel = only(list(built.glob("*.whl")))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    run(*pip, "--disable-pip-version-check", wheel, cwd=tmp_path)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    assert run(environment / "bin" / "llmos", "--version", cwd=elsewhere, env=bare).strip() == f"llmos {VERSION}"
    assert run(python, "-m", "llmos", "--version", cwd=elsewhere, env=bare).strip() == f"llmos {VERSION}"
    assert run(python, "-c", "import llmos; print(llmos.__version__)", cwd=elsewhere, env=bare).strip() == VERSION
