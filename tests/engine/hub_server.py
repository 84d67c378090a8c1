"""A hub on this machine for tests: it speaks as much of Hugging Face's protocol as a download needs, and can misbehave.

Metadata comes from one server and bytes from another, as with the real hub and its CDN.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Request:
    """One request as it came in, with the bytes of the body that were sent."""

    method: str
    path: str
    range: str
    authorization: str
    sent: int = 0


@dataclass
class Hub:
    """What the hub has and how it behaves.

    Attributes:
        files: Content by `owner/repo/file`.
        cuts: For each download to come, the number of bytes after which the line is cut; then none is.
        sizes: A size to claim instead of the real one.
        hashes: A hash to claim instead of the real one.
        ranges: Whether ranges are honoured.
        hold: If given, the line stays open and silent after the bytes of a cut, until it is set.
        status: If not 0, what every request is answered with; `code` is the hub's name for the error.
        downloads: Requests for bytes, `asked` those for metadata.
    """

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    cuts: list[int] = field(default_factory=list[int])
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    hashes: dict[str, str] = field(default_factory=dict[str, str])
    hold: threading.Event | None = None
    ranges: bool = True
    status: int = 0
    code: str = ""
    garbage: bool = False
    address: str = ""
    cdn: str = ""
    downloads: list[Request] = field(default_factory=list[Request])
    asked: list[Request] = field(default_factory=list[Request])

    def hash(self, name: str) -> str:
        return self.hashes.get(name) or hashlib.sha256(self.files[name]).hexdigest()


@contextmanager
def serving(hub: Hub) -> Generator[Hub]:
    """The hub at `hub.address`, until the block is left."""
    with _server(_Metadata, hub) as hub.address, _server(_Bytes, hub) as hub.cdn:
        yield hub


@contextmanager
def _server(handler: type[_Handler], hub: Hub) -> Generator[str]:
    bound = type(handler.__name__, (handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.0"  # a connection for each request: a cut is then nothing but a closed connection

    def log_message(self, format: str, *args: object) -> None:
        pass

    def request_seen(self, sent: int = 0) -> Request:
        read: Callable[[str], str] = lambda name: self.headers.get(name, "")  # noqa: E731
        return Request(self.command, self.path, read("Range"), read("Authorization"), sent)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Metadata(_Handler):
    def do_GET(self) -> None:
        self.do_HEAD()

    def do_HEAD(self) -> None:
        hub = self.hub
        hub.asked.append(self.request_seen())
        path = unquote(self.path.split("?")[0]).strip("/")
        if hub.status:
            self.answer(hub.status, b"{}", X_Error_Code=hub.code, X_Error_Message=hub.code)
        elif hub.garbage:
            self.answer(200, b"\x00<html>login")
        elif path.startswith("api/models/"):
            self._repository("/".join(path.split("/")[2:4]))
        else:
            owner, repo, _, _, *file = path.split("/")
            self._file("/".join((owner, repo, *file)), f"{owner}/{repo}/")

    def _repository(self, repo: str) -> None:
        names = [name.removeprefix(f"{repo}/") for name in self.hub.files if name.startswith(f"{repo}/")]
        if not names:
            self.answer(404, b"{}", X_Error_Code="RepoNotFound")
            return
        facts = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        self.answer(200, json.dumps(facts).encode(), Content_Type="application/json")

    def _file(self, name: str, repo: str) -> None:
        hub = self.hub
        if name not in hub.files:
            known = any(file.startswith(repo) for file in hub.files)
            self.answer(404, b"{}", X_Error_Code="EntryNotFound" if known else "RepoNotFound")
            return
        size = hub.sizes.get(name, len(hub.files[name]))
        self.answer(
            302,
            X_Repo_Commit=COMMIT,
            X_Linked_Size=str(size),
            X_Linked_Etag=f'"{hub.hash(name)}"',
            Location=f"{hub.cdn}/{name}",
        )


class _Bytes(_Handler):
    def do_GET(self) -> None:
        hub = self.hub
        content = hub.files[unquote(self.path).strip("/")]
        start = 0
        if hub.ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        stop = hub.cuts.pop(0) if hub.cuts else len(content)
        body = content[start:stop]
        hub.downloads.append(self.request_seen(len(body)))
        headers = {"Content_Length": str(len(content) - start)}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if start else 200, body, **headers)
        if hub.hold and stop < len(content):
            self.wfile.flush()
            hub.hold.wait(20)
