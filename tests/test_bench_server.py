"""The benchmark's peer in a process of its own: found or not, started and ended, its stream read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from bench.__main__ import main
from bench.report import Skipped
from bench.server import Answer, connect, find, serving

# Says what it was started with, is not ready at first, and answers nothing else.
_STAND_IN = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        Handler.asked += 1
        self.send_response(503 if Handler.asked < 3 else 200)
        self.end_headers()
        self.wfile.write(json.dumps(sys.argv[1:]).encode())

    def log_message(self, *arguments):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def program(folder: Path, code: str) -> Path:
    """A `llama-server` of our own."""
    path = folder / "llama-server"
    path.write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
    path.chmod(0o755)
    return path


def started(binary: Path, *, wait: float = 30.0) -> AbstractContextManager[str]:
    return serving(binary, Path("model.gguf"), threads=2, cells=4096, slots=16, rows=512, wait=wait)


def gone(url: str) -> bool:
    try:
        httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return True
    return False


@contextmanager
def answering(status: int, *pieces: bytes) -> Generator[tuple[str, list[dict[str, Any]]]]:
    """A server whose completions are these bytes, written piece by piece; yields its URL and what it was asked."""
    asked: list[dict[str, Any]] = []
    busy = [True, True, False]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(0.005)

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps([{"is_processing": busy.pop(0)}]).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_without_a_server_on_path_its_rows_are_skipped_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = tmp_path / "report.json"
    assert main(["engine", "--only", "server", "--json", str(report)]) == 0
    assert capsys.readouterr().out.count("Skipped: rows against llama-server: it is not on PATH.") == 1
    written = json.loads(report.read_text(encoding="utf-8"))
    assert (written["rows"], written["skipped"]) == ([], ["rows against llama-server: it is not on PATH"])


def test_a_server_is_waited_for_and_ended_after_the_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, _STAND_IN)
    monkeypatch.setenv("PATH", str(tmp_path))
    with started(find()) as url:
        arguments = httpx.get(url, timeout=5, trust_env=False).json()
    assert gone(url)
    expected = {"-m": "model.gguf", "-t": "2", "-tb": "2", "-c": "4096", "-b": "512", "-ub": "512", "--parallel": "16"}
    assert expected.items() <= dict(pairwise(arguments)).items()
    assert "--kv-unified" in arguments


def test_a_server_is_ended_when_the_block_fails(tmp_path: Path) -> None:
    urls: list[str] = []

    def fail() -> None:
        with started(program(tmp_path, _STAND_IN)) as url:
            urls.append(url)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert gone(urls[0])


def test_a_benchmark_that_is_terminated_ends_its_server(tmp_path: Path) -> None:
    model, pid = tmp_path / "model.gguf", tmp_path / "pid"
    binary = program(tmp_path, f"import os; open({str(pid)!r}, 'w').write(str(os.getpid()))\n{_STAND_IN}")
    code = f"""
import signal, time
from pathlib import Path
from bench.server import serving
signal.signal(signal.SIGTERM, signal.default_int_handler)
with serving(Path({str(binary)!r}), Path({str(model)!r}), threads=1, cells=256, slots=1, rows=64) as url:
    print(url, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as bench:
        assert bench.stdout is not None
        url = bench.stdout.readline().decode().strip()
        bench.send_signal(signal.SIGTERM)
        bench.wait(30)
    assert gone(url)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text(encoding="utf-8")), 0)


def test_a_server_that_does_not_start_is_skipped_with_its_last_words(tmp_path: Path) -> None:
    binary = program(tmp_path, "import sys\nprint('loading')\nsys.exit('error: invalid argument: --kv-unified')")
    with pytest.raises(Skipped, match="ended at once with 1: error: invalid argument: --kv-unified"), started(binary):
        pass


def test_a_server_that_is_never_ready_is_skipped_in_bounded_time(tmp_path: Path) -> None:
    binary = program(tmp_path, "import time\nprint('still loading', flush=True)\ntime.sleep(60)")
    with pytest.raises(Skipped, match="not ready in time: still loading"), started(binary, wait=1.0):
        pass


async def test_a_stream_is_read_to_its_end_however_its_bytes_arrive() -> None:
    stream = (
        b": ping\n\n"
        b'data: {"content": "r\xc3\xa9d", "tokens": [7], "stop": false}\n\n'
        b'data: {"content": "", "tokens": [8, 9], "stop": false}\n\n'
        b'data: {"content": "", "tokens": [], "stop": true, "tokens_predicted": 4}\n\n'
        b"data: [DONE]\n\n"
    )
    seen: list[None] = []
    with answering(200, *(stream[begin : begin + 11] for begin in range(0, len(stream), 11))) as (url, asked):
        async with connect(url) as server:
            answer = await server.ask([1, 2, 3], 4, each=lambda: seen.append(None))
            await server.settle()
    assert answer == Answer((7, 8, 9), answer.seconds, 4)
    assert 0 < answer.seconds[0] < answer.seconds[-1]
    assert len(seen) == 3
    assert len(asked) == 1
    assert asked[0].items() >= {"prompt": [1, 2, 3], "n_predict": 4, "cache_prompt": True, "ignore_eos": True}.items()
    assert "id_slot" not in asked[0]


@pytest.mark.parametrize(
    ("status", "stream", "said"),
    [
        (400, b'{"error": {"message": "too long"}}', "answered 400: .*too long"),
        (200, b'data: {"content": "a", "tokens": [7], "stop": false}\n\n', "ended a stream after 1 tokens"),
        (200, b'data: {"error": {"message": "no room"}}\n\n', "reported an error: .*no room"),
        (200, b'error: {"message": "no room"}\n\n', "reported an error: .*no room"),
    ],
)
async def test_a_stream_that_fails_is_no_figure_and_its_rows_are_skipped(status: int, stream: bytes, said: str) -> None:
    with answering(status, stream) as (url, _):
        async with connect(url) as server:
            with pytest.raises(Skipped, match=said):
                await server.ask([1], 4)


async def test_a_server_that_is_gone_is_skipped() -> None:
    with answering(200) as (url, _):
        pass
    async with connect(url) as server:
        with pytest.raises(Skipped, match="ConnectError"):
            await server.ask([1], 4)
        with pytest.raises(Skipped, match="ConnectError"):
            await server.settle()
