"""Pages from a real server on this machine, which is a private address."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from llmos.errors import StorageError
from llmos.memory.fetching import fetch, is_open
from tests.tools.web_server import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def test_a_page_is_got_with_its_kind(server: Server) -> None:
    server.answers["/a"] = (200, {"Content-Type": "Text/HTML; charset=ISO-8859-1"}, b"<p>x")
    page = fetch(server.url("/a"), allow_private=True)
    assert (page.url, page.kind, page.charset, page.data) == (server.url("/a"), "text/html", "iso-8859-1", b"<p>x")


def test_a_private_address_is_refused_unless_it_was_named(server: Server) -> None:
    server.html("/", "secret")
    with pytest.raises(StorageError, match=r"an address of this machine or its network"):
        fetch(server.url("/"))
    assert server.asked == []


def test_redirects_are_followed_but_not_to_private_addresses(server: Server) -> None:
    server.redirect("/a", "/b")
    server.html("/b", "here")
    assert fetch(server.url("/a"), allow_private=True).url == server.url("/b")
    server.redirect("/c", server.url("/b", host="localhost"))
    with pytest.raises(StorageError, match="'localhost' is"):
        fetch(server.url("/c"), allow_private=True)
    server.redirect("/d", "/d")
    with pytest.raises(StorageError, match="more than 5 times"):
        fetch(server.url("/d"), allow_private=True)
    server.redirect("/e", "file:///etc/passwd")
    with pytest.raises(StorageError, match="neither http nor https"):
        fetch(server.url("/e"), allow_private=True)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a", "file:///etc/passwd", "http://", "a/b.txt", "http://[", "http://" + "a" * 3000]
)
def test_other_things_are_no_urls(url: str) -> None:
    with pytest.raises(StorageError):
        fetch(url)


def test_passwords_are_not_sent_and_not_shown() -> None:
    with pytest.raises(StorageError) as caught:
        fetch("http://ana:secret@example.org/")
    assert "secret" not in str(caught.value)


def test_a_page_that_is_too_large_is_refused_packed_or_not(server: Server) -> None:
    server.answers["/a"] = (200, {}, b"x" * 1001)
    server.answers["/b"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 100_000_000))
    server.answers["/c"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 1000))
    for path in ("/a", "/b"):
        with pytest.raises(StorageError, match="more than 1,000 bytes"):
            fetch(server.url(path), allow_private=True, max_bytes=1000)
    assert fetch(server.url("/c"), allow_private=True, max_bytes=1000).data == b"x" * 1000


def test_a_slow_server_is_given_up(server: Server) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)

    server.answers["/"] = drip
    with pytest.raises(StorageError, match=r"too slowly|can't be reached"):
        fetch(server.url("/"), allow_private=True, seconds=0.3)


def test_errors_of_the_server_are_told(server: Server) -> None:
    with pytest.raises(StorageError, match="status 404"):
        fetch(server.url("/none"), allow_private=True)
    server.answers["/a"] = (200, {"Content-Encoding": "gzip"}, b"not packed")
    with pytest.raises(StorageError, match="damaged"):
        fetch(server.url("/a"), allow_private=True)
    with pytest.raises(StorageError, match="can't be reached"):
        fetch("http://127.0.0.1:9/", allow_private=True)
    with pytest.raises(StorageError, match="There is no host"):
        fetch("http://no-such-host.invalid/")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("0.0.0.0", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::", False),
        ("::808:808", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("here", False),
    ],
)
def test_public_addresses(address: str, *, public: bool) -> None:
    assert is_open(address) == public
