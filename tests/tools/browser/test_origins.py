"""Addresses as a browser would read them, in every spelling that is meant to lead elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import BrowserError
from llmos.tools.browser.origins import Origin, allowed, canonical_host, opened, origin_of, origin_of_frame, parse

LOCAL = frozenset({Origin("http", "localhost", 8000)})


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://Example.ORG", "https://example.org/"),
        ("https://example.org:443/a?b=1#c", "https://example.org/a?b=1#c"),
        ("http://example.org:80", "http://example.org/"),
        ("http://example.org:8080/x", "http://example.org:8080/x"),
        ("http://example.org:", "http://example.org/"),
        ("https://example.org./x", "https://example.org/x"),
        ("HTTPS://example.org?x", "https://example.org/?x"),
        ("example.org/shop", "https://example.org/shop"),
        ("wss://example.org/live", "https://example.org/live"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
        ("https://stra\u00dfe.example/", "https://xn--strae-oqa.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ("https://my_host.example.org/", "https://my_host.example.org/"),
        ("https://example.org/a\\b?c\\d", None),
        ("https://example.org/?c\\d", "https://example.org/?c\\d"),
    ],
)
def test_an_address_has_one_form(url: str, canonical: str | None) -> None:
    if canonical is None:
        with pytest.raises(BrowserError):
            parse(url)
        return
    address = opened(url, frozenset())
    assert str(address) == canonical
    assert parse(str(address)) == address


THIS_MACHINE = [
    "http://localhost/",
    "http://LOCALHOST./",
    "http://a.localhost/",
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://0177.0.0.0x1/",
    "http://017700000001/",
    "http://127.0.0.1./",
    "http://0/",
    "http://0.0.0.0/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://172.16.0.1:8080/",
    "http://100.64.0.1/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    "http://localhost:8001/",
    "https://localhost:8000/",
]


@pytest.mark.parametrize("url", THIS_MACHINE)
def test_this_machine_and_its_network_are_refused_in_every_spelling(url: str) -> None:
    with pytest.raises(BrowserError) as raised:
        opened(url, LOCAL)
    assert raised.value.reason == "blocked"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "view-source:https://example.org",
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,hello",
        "blob:https://example.org/1",
        "about:blank",
        "chrome://settings",
        "ftp://example.org/",
        "filesystem:http://example.org/",
        "https://good.example@evil.example/",
        "https://user:password@evil.example/",
        "https://good.example\\@evil.example/",
        "https:\\\\evil.example",
        "https:/evil.example",
        "https:evil.example",
        "https:///evil.example",
        "//\\evil.example",
        "/etc/passwd",
        "https://evil.example%2f@good.example",
        "https://%65vil.example/",
        "https://exa\tmple.org/",
        "https://exa\u200bmple.org/",
        "https://example.org/\u202egpj.exe",
        "https://a b.example/",
        "https://example.org:99999/",
        "https://example.org:0/",
        "https://example.org:80:80/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://[1.2.3.4]/",
        "https://1.2.3.4.5/",
        "https://256.256.256.256/",
        "https://1.2.3.09/",
        "https://foo.0x/",
        "https://..example.org/",
        "https://-a.example/",
        "https://<script>/",
        "https://" + "a" * 64 + ".example/",
        "https://example.org/" + "a" * 5_000,
    ],
)
def test_what_is_no_web_address_or_can_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(BrowserError) as raised:
        opened(url, frozenset())
    assert raised.value.reason == "blocked"
    assert raised.value.hint
    assert len(raised.value.message) < 250


def test_an_origin_is_opened_exactly() -> None:
    allow = allowed(["http://localhost:8000", "https://10.0.0.5/"])
    assert str(opened("http://localhost:8000/a/b", allow)) == "http://localhost:8000/a/b"
    assert str(opened("https://10.0.0.5/", allow)) == "https://10.0.0.5/"
    assert str(opened("https://0xA.5/", allow)) == "https://10.0.0.5/"
    for other in ("http://localhost/", "https://localhost:8000/", "http://127.0.0.1:8000/", "http://10.0.0.5/"):
        with pytest.raises(BrowserError, match="allow the origin"):
            opened(other, allow)


@pytest.mark.parametrize(
    "text", ["localhost:8000", "http://localhost:8000/admin", "http://localhost?x", "file://", "*"]
)
def test_what_is_allowed_must_be_an_origin(text: str) -> None:
    with pytest.raises(BrowserError):
        allowed([text])


@dataclass
class Frame:
    """A frame as Playwright has it."""

    url: str
    parent_frame: Frame | None = None


def test_a_frame_has_the_origin_of_its_document_or_inherits_it() -> None:
    page = Frame("https://shop.example/cart")
    assert origin_of_frame(page) == origin_of("https://shop.example")
    assert origin_of_frame(Frame("about:srcdoc", page)) == origin_of("https://shop.example")
    assert origin_of_frame(Frame("", Frame("about:blank", page))) == origin_of("https://shop.example")
    assert origin_of_frame(Frame("https://evil.example/x", page)) == origin_of("https://evil.example")
    assert origin_of_frame(Frame("about:srcdoc", Frame("https://evil.example/x", page))) == origin_of(
        "https://evil.example"
    )
    assert origin_of_frame(Frame("blob:https://shop.example/1")) == origin_of("https://shop.example")
    for url in ("data:text/html,x", "about:blank", "file:///etc/passwd", "chrome-error://chromewebdata/"):
        assert origin_of_frame(Frame(url)) is None
    assert origin_of_frame(Frame("data:text/html,x", page)) is None


@given(st.integers(0, 2**32 - 1), st.data())
def test_every_way_of_writing_an_ipv4_address_is_that_address(number: int, data: st.DataObject) -> None:
    parts = [number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255]
    count = data.draw(st.integers(1, 4))
    last = sum(part << 8 * (3 - place) for place, part in enumerate(parts) if place >= count - 1)
    ways = st.sampled_from(["{}", "{:#x}", "0{:o}", "0X{:X}"])
    written = [data.draw(ways).format(part) for part in [*parts[: count - 1], last]]
    assert canonical_host(".".join(written)) == ".".join(map(str, parts))


@given(st.text(max_size=30))
def test_any_text_is_an_address_in_one_form_or_refused(text: str) -> None:
    try:
        address = parse(f"https://{text}")
    except BrowserError:
        return
    assert address.origin.host.isascii()
    assert parse(str(address)) == address
