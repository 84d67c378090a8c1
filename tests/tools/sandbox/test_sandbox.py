"""What a run gives back, how it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from llmos.errors import BadArguments, ConfigError, SandboxUnavailable, StorageError
from llmos.tools.sandbox import Completed, Mechanism, Sandbox, core, probe
from tests.tools.sandbox.conftest import CONFINING

ROOT = Path(__file__).resolve().parents[3]


async def python(sandbox: Sandbox, workspace: Path, source: str, *, seconds: float = 20, **limits: int) -> Completed:
    return await sandbox.run([sys.executable, "-c", source], workspace=workspace, seconds=seconds, **limits)  # type: ignore[arg-type]


def running(word: str) -> list[int]:
    """Processes of this machine whose command line contains a word."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word in (folder / "cmdline").read_text(errors="replace"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


async def gone(word: str) -> bool:
    """Whether no such process is left, at the latest after a few seconds."""
    for _ in range(100):
        if not running(word):
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_program_gets_its_arguments_input_and_variables(sandbox: Sandbox, tmp_path: Path) -> None:
    source = "import os, sys; print(sys.argv[1:], sys.stdin.read(), os.environ['COLOUR']); sys.exit(3)"
    argv = ["python", "-c", source, "a b", "ü"]
    done = await sandbox.run(argv, workspace=tmp_path, stdin=b"in", env={"COLOUR": "red"})
    assert done.stdout.decode() == "['a b', 'ü'] in red\n"
    assert (done.returncode, done.limit, done.timed_out, done.truncated, done.stderr) == (3, "", False, 0, b"")
    assert 0 < done.seconds < 20


async def test_a_program_sees_nothing_of_our_environment(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "s3cret")
    done = await sandbox.run(["env"], workspace=tmp_path)
    assert b"HOME" in done.stdout
    assert b"s3cret" not in done.stdout
    assert os.path.expanduser("~").encode() not in done.stdout.replace(os.path.dirname(sys.executable).encode(), b"")


async def test_a_program_works_in_its_workspace(sandbox: Sandbox, tmp_path: Path) -> None:
    script = """
    set -e
    mkdir -p a/b; echo one > a/b/c; mv a/b/c a/d; ln -s d a/e; cat a/e; chmod 600 a/d; touch -d 2001-02-03T04:05:06Z a/d
    cp -p a/d f; stat -c '%a %Y' a/d f; echo 'echo hello' > run; chmod +x run; ./run; echo x > "$TMPDIR/x"
    yes | head -1; (echo from a child) | cat; rm -r a
    """
    done = await sandbox.run(["sh", "-c", script], workspace=tmp_path)
    assert done.stderr == b""
    lines = ["one", "600 981173106", "600 981173106", "hello", "y", "from a child"]
    assert done.stdout.decode().splitlines() == lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "run"]


async def test_what_is_installed_beside_llmos_can_be_imported(sandbox: Sandbox, tmp_path: Path) -> None:
    done = await python(sandbox, tmp_path, "import numpy; print(numpy.arange(5).sum())")
    assert done.stdout == b"10\n", done.stderr


async def test_threads_processes_and_event_loops_work(sandbox: Sandbox, tmp_path: Path) -> None:
    source = """
import asyncio, os, subprocess, tempfile, threading, shutil
thread = threading.Thread(target=print, args=("thread",), kwargs={"flush": True})
thread.start(); thread.join()
async def main():
    process = await asyncio.create_subprocess_exec("echo", "process", stdout=-1)
    print((await process.communicate())[0].decode(), end="")
asyncio.run(main())
print(subprocess.run("echo shell", shell=True, capture_output=True, text=True).stdout, end="")
with tempfile.TemporaryDirectory() as folder:
    open(folder + "/a", "w").close()
    shutil.copytree(folder, "copy")
print(os.listdir("copy"))
if os.fork() == 0:
    os.abort()
print(os.WTERMSIG(os.wait()[1]))
"""
    done = await python(sandbox, tmp_path, source)
    assert done.stdout.decode().splitlines() == ["thread", "process", "shell", "['a']", "6"], done.stderr


@pytest.mark.parametrize(
    "name", ["with space", "üñ", "new\nline", "quote'\"", "$(touch x)", "-option", "a,b:c=d", "\udcff"]
)
async def test_a_workspace_may_have_any_name(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    workspace = tmp_path / name
    workspace.mkdir()
    done = await sandbox.run(["sh", "-c", "echo x > made"], workspace=workspace)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (workspace / "made").exists()


async def test_a_workspace_may_be_reached_by_a_link(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    done = await sandbox.run(["sh", "-c", "echo x > made"], workspace=tmp_path / "link")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "real" / "made").exists()


async def test_readable_files_can_be_read_and_not_written(sandbox: Sandbox, tmp_path: Path) -> None:
    workspace, other, hidden = (tmp_path / name for name in ("workspace", "other", "hidden"))
    for folder in (workspace, other, hidden):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
    script = f"cat {other}/file; cat {hidden}/file; echo x > {other}/file; echo x > {other}/new; chmod 777 {other}/file"
    done = await sandbox.run(["sh", "-c", script], workspace=workspace, readable=[other])
    assert done.stdout == b"other"
    assert [path.name for path in other.iterdir()] == ["file"]
    assert (other / "file").read_text() == "other"
    assert (other / "file").stat().st_mode & 0o777 != 0o777


async def test_output_need_not_be_text(sandbox: Sandbox, tmp_path: Path) -> None:
    done = await python(sandbox, tmp_path, "import os; os.write(1, b'\\xff\\0\\xfe'); os.write(2, b'\\x80')")
    assert (done.stdout, done.stderr) == (b"\xff\0\xfe", b"\x80")


async def test_output_beyond_the_cap_goes_to_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    workspace, file = tmp_path / "workspace", tmp_path / "output"
    workspace.mkdir()
    source = "import sys; print('a' * 5000, flush=True); print('b' * 10, file=sys.stderr)"
    argv = [sys.executable, "-c", source]
    done = await sandbox.run(argv, workspace=workspace, output_bytes=1000, output_file=file)
    assert (done.stdout, done.stderr, done.truncated) == (b"a" * 1000, b"b" * 10 + b"\n", 4001)
    assert sorted(file.read_bytes()) == sorted(b"a" * 5000 + b"\n" + b"b" * 10 + b"\n")
    file.unlink()
    done = await sandbox.run(argv, workspace=workspace, output_bytes=6000, output_file=file)
    assert done.truncated == 0
    assert not file.exists()


async def test_output_that_cannot_be_kept_is_a_typed_error(sandbox: Sandbox, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "print('a' * 5000)"]
    with pytest.raises(StorageError):
        await sandbox.run(argv, workspace=tmp_path, output_bytes=10, output_file=tmp_path / "missing" / "file")
    if Path("/dev/full").exists():
        with pytest.raises(StorageError):
            await sandbox.run(argv, workspace=tmp_path, output_bytes=10, output_file=Path("/dev/full"))


@pytest.mark.parametrize("program", ["no-such-program", "./nothing", "/", "./not-executable", "./no-interpreter"])
async def test_a_program_that_cannot_be_run_is_a_typed_error(program: str, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "not-executable").write_text("x")
    (tmp_path / "no-interpreter").write_text("#!/no/such/interpreter\n")
    (tmp_path / "no-interpreter").chmod(0o755)
    with pytest.raises(BadArguments, match=program.lstrip("./") or "/"):
        await sandbox.run([program], workspace=tmp_path)


async def test_what_makes_no_sense_is_a_typed_error(tmp_path: Path) -> None:
    sandbox = Sandbox.best()
    for argv in ([], [""], ["a\0b"], ["true", "\0"]):
        with pytest.raises(BadArguments):
            await sandbox.run(argv, workspace=tmp_path)
    for env in ({"A=B": "x"}, {"A": "\0"}, {"": "x"}):
        with pytest.raises(BadArguments):
            await sandbox.run(["true"], workspace=tmp_path, env=env)
    for workspace in (tmp_path / "missing", Path("/"), Path("/usr"), Path("/etc"), Path(sys.prefix)):
        with pytest.raises(ConfigError):
            await sandbox.run(["true"], workspace=workspace)
    for seconds in (0, -1, float("nan"), float("inf"), 1e300):
        with pytest.raises(ConfigError):
            await sandbox.run(["true"], workspace=tmp_path, seconds=seconds)
    for number in (0, 1000, 1 << 70):
        with pytest.raises(ConfigError):
            await sandbox.run(["true"], workspace=tmp_path, memory_bytes=number)
    with pytest.raises(ConfigError):
        await sandbox.run(["true"], workspace=tmp_path, processes=0)


async def test_a_home_is_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for workspace in (tmp_path, tmp_path / "home"):
        with pytest.raises(ConfigError, match="home"):
            await Sandbox.best().run(["true"], workspace=workspace)
    assert (await Sandbox.best().run(["true"], workspace=tmp_path / "home" / "project")).returncode == 0


async def test_a_limit_says_that_it_ended_a_program(sandbox: Sandbox, tmp_path: Path) -> None:
    done = await python(sandbox, tmp_path, "import time; time.sleep(60)", seconds=0.3)
    assert (done.limit, done.timed_out) == ("time", True)
    done = await python(sandbox, tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert (done.limit, done.returncode) == ("signal", -15)
    together = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        data = b"x" * (60 << 20)
        time.sleep(30)
time.sleep(30)
"""
    done = await python(sandbox, tmp_path, together, memory_bytes=128 << 20)
    assert done.limit == "memory"
    several = "import os, time\nfor _ in range(40): os.fork() or time.sleep(30)\ntime.sleep(30)"
    done = await python(sandbox, tmp_path, several, processes=16)
    assert done.limit == "processes"
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    began = time.monotonic()
    done = await python(sandbox, tmp_path, bomb, processes=16)
    assert done.limit == "processes"
    evasive = bomb.replace("os.fork()", "os.fork() or os.setsid()")
    done = await python(sandbox, tmp_path, evasive, processes=16)
    assert done.limit == "processes"
    assert time.monotonic() - began < 15
    threads = """
import threading, time
try:
    while True:
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
except RuntimeError:
    time.sleep(30)
"""
    done = await python(sandbox, tmp_path, threads, processes=2)
    assert done.limit == "processes"
    done = await sandbox.run(["sh", "-c", "head -c 2000000000 /dev/zero > file; exit $?"], workspace=tmp_path)
    assert (tmp_path / "file").stat().st_size <= core.FILE_BYTES
    assert done.returncode != 0


FAST_BOMB = """
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    time_t end = time(0) + 3;  /* for a machine where the test fails */
    while (time(0) < end)
        if (fork() == 0)
            setsid();
    return 0;
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
async def test_even_a_fast_fork_bomb_is_ended_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    subprocess.run(["cc", "-x", "c", "-", "-o", str(tmp_path / "bomb")], input=FAST_BOMB.encode(), check=True)
    done = await sandbox.run(["./bomb"], workspace=tmp_path, processes=16)
    assert (done.limit, done.returncode) == ("processes", -9)


async def test_shells_that_wait_for_children_can_fork(sandbox: Sandbox, tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do yes | head -1; (echo y) | cat; true & done; wait"
    runs = (sandbox.run(["sh", "-c", script], workspace=tmp_path) for _ in range(12))
    for done in await asyncio.gather(*runs):
        assert (done.stdout, done.stderr) == (b"y\n" * 16, b"")


async def test_pages_that_processes_share_are_counted_once(sandbox: Sandbox, tmp_path: Path) -> None:
    source = """
import os, time
data = b"x" * (100 << 20)
for _ in range(5):
    if os.fork() == 0:
        time.sleep(0.3)
        os._exit(0)
for _ in range(5):
    os.wait()
print("done")
"""
    done = await python(sandbox, tmp_path, source, memory_bytes=256 << 20)
    assert (done.stdout, done.limit) == (b"done\n", "")


async def test_shared_memory_counts(sandbox: Sandbox, tmp_path: Path) -> None:
    source = (
        "import mmap, time\nm = mmap.mmap(-1, 400 << 20)\nfor p in range(0, len(m), 4096): m[p] = 1\ntime.sleep(30)"
    )
    done = await python(sandbox, tmp_path, source, memory_bytes=128 << 20)
    assert done.limit == "memory"


async def test_a_full_temporary_folder_is_the_programs_own_problem(tmp_path: Path) -> None:
    if "bubblewrap" not in CONFINING:
        pytest.skip("only bubblewrap has a file system of its own")
    script = "for n in 1 2 3; do head -c 200000000 /dev/zero > /tmp/$n; done; head -c 100000000 /dev/zero > /dev/shm/x"
    done = await Sandbox("bubblewrap").run(["sh", "-c", script], workspace=tmp_path)
    assert b"No space left" in done.stderr
    for folder in ("/", "/dev", "/etc", "/proc", "/sys"):
        done = await Sandbox("bubblewrap").run(["sh", "-c", f"echo x > {folder}/file"], workspace=tmp_path)
        assert done.returncode != 0


async def test_cancelling_ends_everything(sandbox: Sandbox, tmp_path: Path) -> None:
    word = f"cancelled-{os.getpid()}"
    source = "import os, time\nfor _ in range(3): os.fork()\nos.setsid()\nopen('up', 'w').close()\ntime.sleep(60)"
    source = source.replace("os.setsid()", "\ntry: os.setsid()\nexcept OSError: pass\n")
    task = asyncio.ensure_future(sandbox.run([sys.executable, "-c", source, word], workspace=tmp_path))
    while not (tmp_path / "up").exists():
        await asyncio.sleep(0.01)
    assert running(word)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(word)


async def test_a_deadline_outside_ends_everything(sandbox: Sandbox, tmp_path: Path) -> None:
    word = f"late-{os.getpid()}"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await sandbox.run([sys.executable, "-c", "import time; time.sleep(60)", word], workspace=tmp_path)
    assert await gone(word)


HOST = """
import asyncio, sys
from pathlib import Path
from llmos.tools.sandbox import Sandbox
argv = ["sh", "-c", "setsid sleep 60 & echo > up; sleep 60", sys.argv[3]]
asyncio.run(Sandbox(sys.argv[1]).run(argv, workspace=Path(sys.argv[2])))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_nothing_outlives_llmos(number: signal.Signals, sandbox: Sandbox, tmp_path: Path) -> None:
    word = f"host-{os.getpid()}"
    argv: Sequence[str] = [sys.executable, "-c", HOST, sandbox.name, str(tmp_path), word]
    host = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "up").exists():
            assert host.poll() is None
            await asyncio.sleep(0.01)
        assert len(running(word)) > 1
        host.send_signal(number)
        await asyncio.to_thread(host.wait, 20)
        assert host.returncode in (-number, 1, 130)
        assert await gone(word)
    finally:
        host.kill()
        host.wait()


async def test_a_program_cannot_end_its_keeper(sandbox: Sandbox, tmp_path: Path) -> None:
    source = """
import os, signal, time
for victim in (os.getppid(), 1, -1, 0):
    if victim == 0:
        signal.signal(signal.SIGKILL - 4, signal.SIG_IGN)
        continue
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
        try:
            if victim != -1:
                os.kill(victim, number)
        except OSError:
            pass
print("on", flush=True)
time.sleep(60)
"""
    done = await python(sandbox, tmp_path, source, seconds=1)
    assert (done.stdout, done.limit) == (b"on\n", "time")


async def test_many_run_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    async def one(number: int) -> None:
        workspace = tmp_path / str(number)
        workspace.mkdir()
        done = await sandbox.run(["sh", "-c", f"echo {number} > out; cat out"], workspace=workspace, seconds=60)
        assert (done.stdout, done.limit) == (f"{number}\n".encode(), "")

    await asyncio.gather(*map(one, range(30)))


async def test_no_file_process_or_folder_is_left(sandbox: Sandbox, tmp_path: Path) -> None:
    script = """
    echo "$TMPDIR"; cd "$TMPDIR"; mkdir -p a/b; echo x > a/b/c; chmod 0 a/b a
    i=0; while [ $i -lt 200 ]; do mkdir long-name-$i; cd long-name-$i; i=$((i+1)); done
    """
    await python(sandbox, tmp_path, "pass")
    files = set(os.listdir("/proc/self/fd"))
    done = await sandbox.run(["sh", "-c", script], workspace=tmp_path)
    assert (done.limit, done.stderr) == ("", b"")
    with pytest.raises(BadArguments):
        await sandbox.run(["no-such-program"], workspace=tmp_path)
    assert set(os.listdir("/proc/self/fd")) == files
    assert done.stdout.strip() == b"/tmp" or not os.path.exists(done.stdout.strip())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def test_code_is_refused_without_a_mechanism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: Mechanism) -> str:
        return f"{name} is broken"

    monkeypatch.setattr(core, "why_not", broken)
    with pytest.raises(SandboxUnavailable, match="bubblewrap is broken"):
        Sandbox.best()
    unsafe = Sandbox.best(unsafe=True)
    assert unsafe.name == "none"
    done = await python(unsafe, tmp_path, "print(1)")
    assert done.stdout == b"1\n"
    done = await sandbox_daemon(unsafe, tmp_path)
    assert done.returncode == 0


async def sandbox_daemon(sandbox: Sandbox, workspace: Path) -> Completed:
    """A daemon under limits only: it is collected all the same."""
    word = f"daemon-{os.getpid()}"
    done = await sandbox.run(["sh", "-c", f"setsid sh -c 'sleep 60; : {word}' & "], workspace=workspace)
    assert await gone(word)
    return done


async def test_readable_folders_inside_the_workspace_are_protected(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "python").mkdir()
    argv = ["sh", "-c", "echo x > python/planted"]
    if sandbox.name == "landlock":
        with pytest.raises(SandboxUnavailable, match="Landlock"):
            await sandbox.run(argv, workspace=tmp_path, readable=[tmp_path / "python"])
        return
    done = await sandbox.run(argv, workspace=tmp_path, readable=[tmp_path / "python"])
    assert done.returncode != 0
    assert not list((tmp_path / "python").iterdir())


def test_the_best_mechanism_is_the_first_that_works() -> None:
    report = probe()
    assert Sandbox.best().name == report.best == next(found.name for found in report.mechanisms if found.works)
    assert all(found.works or found.fix for found in report.mechanisms)


async def test_sandboxes_work_from_any_thread_and_loop(sandbox: Sandbox, tmp_path: Path) -> None:
    done = await asyncio.to_thread(lambda: asyncio.run(python(sandbox, tmp_path, "print(1)")))
    assert done.stdout == b"1\n"
