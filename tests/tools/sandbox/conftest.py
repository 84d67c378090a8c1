"""What hostile code goes for: a secret, a folder, servers, another process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmos.tools.sandbox import Mechanism, Sandbox
from llmos.tools.sandbox.core import why_not

CONFINING: tuple[Mechanism, ...] = tuple(name for name in ("bubblewrap", "landlock", "seatbelt") if not why_not(name))

VICTIM = """
import ctypes, sys
word = ctypes.create_string_buffer(b"s3cret")
print(ctypes.addressof(word), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Prey:
    """What a probe is told, in its environment, and what tells whether it succeeded."""

    env: dict[str, str]
    workspace: Path
    outside: Path
    received: socket.socket
    victim: subprocess.Popen[bytes]


@pytest.fixture(params=CONFINING)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Every mechanism that works on this machine."""
    return Sandbox(request.param)


@pytest.fixture
def prey(tmp_path: Path) -> Iterator[Prey]:
    workspace, outside = tmp_path / "workspace", tmp_path / "outside"
    workspace.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("s3cret")
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        abstract, pathname = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        abstract.bind(f"\0llmos-test-{os.getpid()}")
        abstract.listen()
        # near the root, where its name is short enough
        pathname.bind(str(workspace / "s"))
        pathname.listen()
        datagrams = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        datagrams.bind(str(workspace / "d"))
        victim = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", VICTIM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "TOKEN": "s3cret"},
            )
        )
        stack.callback(victim.kill)
        assert victim.stdout
        env = {
            "SECRET": str(outside / "secret"),
            "OUTSIDE": str(outside),
            "TCP": str(tcp.getsockname()[1]),
            "UDP": str(udp.getsockname()[1]),
            "ABSTRACT": f"llmos-test-{os.getpid()}",
            "PATHNAME": str(workspace / "s"),
            "DATAGRAMS": str(workspace / "d"),
            "VICTIM": str(victim.pid),
            "ADDRESS": victim.stdout.readline().decode().strip(),
        }
        yield Prey(env, workspace, outside, udp, victim)
