"""What each wall holds back by itself: the filter, older kernels' Landlock, another user than root."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.tools.sandbox import Completed, Sandbox, landlock, seatbelt, seccomp, syscalls
from llmos.tools.sandbox.folder import remove
from llmos.tools.sandbox.places import places
from tests.tools.sandbox import probes
from tests.tools.sandbox.conftest import CONFINING, Prey

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these walls are Linux's")
needs_landlock = pytest.mark.skipif("landlock" not in CONFINING, reason="Landlock does not work here")

OTHERS = """
import ctypes, fcntl, os, resource, signal, socket, struct
library = ctypes.CDLL(None, use_errno=True)
victim, secret = int(os.environ["VICTIM"]), os.environ["SECRET"]
got = []
def attempt(name, action):
    try:
        if action() != -1:
            got.append(name)
    except (OSError, AttributeError) as error:
        print(name, error)
def owner():
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETOWN, victim)
def lease():
    fcntl.fcntl(os.open("leased", os.O_CREAT | os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)
attempt("chmod", lambda: os.chmod(secret, 0o777))
attempt("chmod of a folder", lambda: os.chmod(os.environ["OUTSIDE"], 0o777))
attempt("utime", lambda: os.utime(secret, (0, 0)))
attempt("chown", lambda: os.chown(secret, os.getuid(), os.getgid()))
attempt("setxattr", lambda: os.setxattr(secret, "user.x", b"x"))
attempt("truncate", lambda: os.truncate(secret, 0))
attempt("truncating open", lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC))
attempt("rename", lambda: os.rename(secret, "moved"))
attempt("remove", lambda: os.remove(secret))
attempt("prlimit", lambda: resource.prlimit(victim, resource.RLIMIT_CORE, (0, 0)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, victim, 19))
attempt("affinity", lambda: os.sched_setaffinity(victim, os.sched_getaffinity(0)))
attempt("owner of a pipe", owner)
attempt("lease", lease)
attempt("shared memory", lambda: library.shmget(0, 4096, 0o1600))
attempt("messages", lambda: library.msgget(0, 0o1600))
attempt("memory file", lambda: os.memfd_create("x"))
attempt("keyring", lambda: library.syscall({"x86_64": 250, "aarch64": 219}[os.uname().machine], 0, -3, 0))
attempt("io_uring", lambda: library.syscall(425, 4, ctypes.create_string_buffer(200)))
attempt("user name space", lambda: library.unshare(0x10000000))
attempt("clone3", lambda: library.syscall(435, None, 0) if ctypes.get_errno() != 38 else -1)
attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet socket", lambda: socket.socket(17, socket.SOCK_RAW))
attempt("virtual machine socket", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("crypto socket", lambda: socket.socket(38, socket.SOCK_SEQPACKET))
attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("setuid", lambda: os.setuid(12345) if os.getuid() == 0 else -1)
attempt("watch", lambda: library.inotify_init())
attempt("root", lambda: os.chroot("."))
print("GOT", got)
"""


async def attack(sandbox: Sandbox, prey: Prey, source: str = OTHERS, *, network: bool = False) -> Completed:
    return await sandbox.run(
        [sys.executable, "-c", source], workspace=prey.workspace, env=prey.env, network=network, seconds=20
    )


@pytest.mark.parametrize("network", [False, True])
async def test_nothing_outside_is_changed_in_other_ways(network: bool, sandbox: Sandbox, prey: Prey) -> None:
    secret = Path(prey.env["SECRET"])
    before = (secret.stat(), secret.parent.stat())
    done = await attack(sandbox, prey, network=network)
    assert done.stdout.decode().splitlines()[-1] == "GOT []", done.stderr
    assert [(now.st_mode, now.st_mtime) for now in (secret.stat(), secret.parent.stat())] == [
        (then.st_mode, then.st_mtime) for then in before
    ]
    assert secret.read_text() == "s3cret"


def test_without_a_sandbox_those_ways_are_open(prey: Prey) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHERS],
        cwd=prey.workspace,
        env={**os.environ, **prey.env},
        capture_output=True,
        text=True,
        check=True,
    )
    got = done.stdout.splitlines()[-1]
    for name in (
        "chmod",
        "utime",
        "truncate",
        "prlimit",
        "priority",
        "owner of a pipe",
        "shared memory",
        "unix socket",
    ):
        assert f"'{name}'" in got


@needs_landlock
@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["SECRET_READ", "WRITE_OUTSIDE", "NETWORK", "SYMLINK", "PTRACE", "SIGNAL", "OTHERS"])
async def test_older_kernels_hold_back_the_same(
    name: str, version: int, prey: Prey, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version > landlock.version():
        pytest.skip("this kernel is older")
    monkeypatch.setattr(landlock, "version", lambda: version)
    done = await attack(Sandbox("landlock"), prey, OTHERS if name == "OTHERS" else getattr(probes, name))
    assert b"ESCAPED" not in done.stdout
    assert name != "OTHERS" or done.stdout.endswith(b"GOT []\n")
    assert Path(prey.env["SECRET"]).read_text() == "s3cret"


@needs_landlock
async def test_on_older_kernels_a_program_signals_its_own(prey: Prey, monkeypatch: pytest.MonkeyPatch) -> None:
    version = min(landlock.version(), 5)
    monkeypatch.setattr(landlock, "version", lambda: version)
    source = """
import os, signal, subprocess, sys, threading
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
os.killpg(child.pid, signal.SIGTERM)
print(child.wait())
child = subprocess.Popen(["sleep", "60"])
child.kill()
print(child.wait())
signal.signal(signal.SIGUSR1, lambda *_: print("got"))
signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
os.kill(0, signal.SIGUSR1)
try:
    os.kill(-1, signal.SIGKILL)
except PermissionError:
    print("refused")
sys.stdout.flush()
os.abort()
"""
    done = await attack(Sandbox("landlock"), prey, source)
    assert (done.stdout.split(), done.returncode) == ([b"-15", b"-9", b"got", b"got", b"refused"], -6), done.stderr


async def test_with_network_a_program_reaches_servers(sandbox: Sandbox, prey: Prey) -> None:
    done = await attack(sandbox, prey, probes.NETWORK, network=True)
    # TCP twice refused for a server that says nothing; both datagrams arrive; no socket of this machine is reached
    assert b"ESCAPED 2" in done.stdout, (done.stdout, done.stderr)
    assert prey.received.recv(100) == b"leak"


NOBODY = """
import asyncio, json, sys
from pathlib import Path
from llmos.tools.sandbox import Sandbox, core
name, workspace, env, source = sys.argv[1:]
if reason := core.why_not(name):
    print("UNAVAILABLE", reason)
else:
    run = Sandbox(name).run(["python3", "-c", source], workspace=Path(workspace), env=json.loads(env), seconds=20)
    done = asyncio.run(run)
    print(done.stdout.decode(), done.stderr.decode(), done.limit)
"""
AS_NOBODY = """
import os, signal, subprocess
print("user", os.getuid())
def attempt(name, action):
    try:
        print(name, action())
    except OSError as error:
        print(name, "refused")
attempt("read", lambda: open(os.environ["SECRET"]).read())
attempt("chmod", lambda: os.chmod(os.environ["SECRET"], 0o777))
attempt("signal", lambda: os.kill(int(os.environ["VICTIM"]), 0))
attempt("setuid", lambda: subprocess.run([os.environ["SETUID"], "-u"], capture_output=True, text=True).stdout)
attempt("own", lambda: (open("f", "w").close(), os.chmod("f", 0o600), os.stat("f").st_mode & 0o777))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users can enter."""
    folder = Path(tempfile.mkdtemp(prefix="llmos-test-"))
    folder.chmod(0o755)
    yield folder
    remove(str(folder))


@pytest.mark.parametrize("name", CONFINING)
def test_another_user_than_root_is_confined_as_well(name: str, shared: Path) -> None:
    python, package = "/usr/bin/python3", Path(__file__).resolve().parents[3] / "llmos"
    nobody = 65534
    if os.geteuid() != 0 or not os.path.exists(python):
        pytest.skip("needs root, to become somebody else, and a Python for everybody")
    shutil.copytree(package, shared / "llmos", ignore=shutil.ignore_patterns("__pycache__"))
    workspace, secret = shared / "workspace", shared / "secret"
    workspace.mkdir()
    secret.write_text("s3cret")
    secret.chmod(0o600)
    for path in (workspace, secret):
        os.chown(path, nobody, nobody)
    # in a folder that is seen inside as well
    suid = Path(tempfile.mkdtemp(prefix="llmos-test-", dir="/usr/local")) / "id"
    try:
        suid.parent.chmod(0o755)
        shutil.copyfile("/usr/bin/id", suid)
        suid.chmod(0o4755)
        victim = subprocess.Popen(["sleep", "60"], user=nobody)
        env = {"SECRET": str(secret), "VICTIM": str(victim.pid), "SETUID": str(suid)}
        try:
            outside = _as_nobody([python, "-c", AS_NOBODY], shared, env)
            arguments = [name, str(workspace), json.dumps(env), AS_NOBODY]
            inside = _as_nobody([python, "-c", NOBODY, *arguments], shared, {"PYTHONPATH": str(shared)})
        finally:
            victim.kill()
            victim.wait()
    finally:
        remove(str(suid.parent))
    assert outside.splitlines()[:4] == ["user 65534", "read s3cret", "chmod None", "signal None"]
    assert "setuid 0" in outside
    if "UNAVAILABLE" in inside:
        pytest.skip(inside)
    expected = ["user 65534", "read refused", "chmod refused", "signal refused", "setuid 65534"]
    assert [line for line in inside.splitlines() if line][:5] == expected
    assert "(None, None, 384)" in inside


def _as_nobody(argv: list[str], folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        argv,
        cwd=folder / "workspace",
        env={"PATH": "/usr/bin:/bin", **env},
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("machine", list(syscalls.AUDIT))
@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("guarded", [False, True])
def test_every_jump_of_a_filter_stays_inside(machine: str, network: bool, guarded: bool) -> None:
    program = seccomp.program(machine, network=network, landlock=1, guard_files=guarded, guard_signals=guarded)
    lines = list(struct.iter_unpack("=HBBI", program))
    assert len(lines) < 4096
    for place, (code, yes, no, _) in enumerate(lines):
        if code & 7 == 5:
            assert place + 1 + max(yes, no) < len(lines)
    assert lines[-1] == (0x06, 0, 0, seccomp.ALLOW)


@pytest.mark.parametrize("machine", list(syscalls.AUDIT))
def test_every_call_that_a_rule_names_has_a_number(machine: str) -> None:
    known = syscalls.numbers(machine)
    legacy = set(syscalls.numbers("x86_64")) - set(syscalls.numbers("aarch64"))
    for rule in seccomp.rules(network=True, landlock=1, guard_files=True, guard_signals=True):
        assert rule.call in known or (machine == "aarch64" and rule.call in legacy), rule.call
    assert len(set(known.values())) == len(known)


def test_the_profile_for_macos_quotes_what_it_names(tmp_path: Path) -> None:
    folder = tmp_path / 'a "b" \\c'
    folder.mkdir()
    profile = seatbelt.profile(places(folder), "/private/tmp/x", network=False)
    assert '(subpath "' + str(folder).replace("\\", "\\\\").replace('"', '\\"') + '")' in profile
    assert "(deny network*)" in profile
    assert profile.count("(") == profile.count(")")
