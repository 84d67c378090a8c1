"""For attacks: a server that serves what it is given and notes who asked, and a resolver that knows only its names."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.browser_rig import running

PUBLIC = "93.184.215.14"
"""An address of the internet. Nothing is ever sent there: machines that run this may have no network."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says to one path."""

    body: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Site:
    """A server on 127.0.0.1.

    Attributes:
        port: Where it listens.
        pages: What it answers, by path; anything else is an empty page.
        asked: Method and path of every request, with its body.
    """

    port: int = 0
    pages: dict[str, Answer] = field(default_factory=dict[str, Answer])
    asked: list[str] = field(default_factory=list[str])

    @property
    def origin(self) -> str:
        """Its origin, by address."""
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str, body: str) -> str:
        """Set a page; returns its URL."""
        self.pages[path] = Answer(f"<!doctype html>\n<title>Page</title>\n<link rel=icon href='data:,'>\n{body}")
        return self.origin + path


@contextmanager
def site() -> Generator[Site]:
    """A server for the time of the block."""
    here = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                self._answer("")

        def do_POST(self) -> None:
            with suppress(ConnectionError):
                self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode(errors="replace"))

        def _answer(self, body: str) -> None:
            here.asked.append(f"{self.command} {self.path} {body}".rstrip())
            answer = here.pages.get(self.path.partition("?")[0], Answer("<title>Empty</title>"))
            content = answer.body.encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "text/html; charset=utf-8", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        here.port = server.server_port
        yield here


@dataclass(slots=True)
class Names:
    """A resolver: for each name its answers, one after another, the last one for ever."""

    answers: Mapping[str, Sequence[Sequence[str]]]
    asked: dict[str, int] = field(default_factory=dict[str, int])

    async def __call__(self, host: str, port: int) -> list[str]:
        answers = self.answers.get(host)
        if answers is None:
            raise OSError(f"{host!r} has no address")
        number = self.asked.get(host, 0)
        self.asked[host] = number + 1
        return list(answers[min(number, len(answers) - 1)])
