"""Servers for tests: one built with the official SDK, one that breaks the rules; a home of its own for each test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmos.kernel.protocols import Device
from llmos.tools.mcp import pins
from llmos.tools.mcp.device import devices
from llmos.tools.mcp.look import look
from llmos.tools.mcp.pool import Pool
from llmos.tools.mcp.settings import Server

HERE = Path(__file__).parent
_SEEN: dict[tuple[str, ...], tuple[pins.Definition, ...]] = {}


@dataclass
class Bench:
    """Makes servers, and the tools of them."""

    folder: Path
    pool: Pool = field(default_factory=Pool)

    @property
    def mail(self) -> Path:
        """What the server wrote down."""
        return self.folder / "mail.txt"

    def sdk(self, **more: Any) -> Server:  # noqa: ANN401 - fields of a server
        """The one built with the SDK."""
        env: Mapping[str, str] = more.pop("env", {})
        command = (sys.executable, str(HERE / "sdk_server.py"), "stdio")
        return Server(name="sample", command=command, env={"MAIL": str(self.mail), **env}, **more)

    def raw(self, mode: str, **more: Any) -> Server:  # noqa: ANN401
        """The one that breaks rules."""
        return Server(name="raw", command=(sys.executable, str(HERE / "raw_server.py"), mode), **more)

    async def tools(self, server: Server) -> dict[str, Device]:
        """Accept what a server has now; its tools by the server's own names."""
        if server.command not in _SEEN:
            _SEEN[server.command] = tuple((await look(server)).definitions.values())
        pins.accept(server, _SEEN[server.command])
        return self.accepted(server)

    def accepted(self, server: Server) -> dict[str, Device]:
        """Those that were accepted before."""
        found, _ = devices(server, self.pool)
        return {name.partition("__")[2]: tool for name, tool in found.items()}


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Bench]:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    made = Bench(tmp_path)
    yield made
    await made.pool.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(20):
        while is_alive(pid):
            await asyncio.sleep(0.02)


@contextmanager
def serving(bench: Bench, mode: str) -> Generator[str]:
    """The SDK's server behind a URL; it wants `Authorization: Bearer open-sesame`."""
    command = [sys.executable, str(HERE / "sdk_server.py"), mode]
    env = {**os.environ, "MAIL": str(bench.mail)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/mcp"
        finally:
            process.kill()
