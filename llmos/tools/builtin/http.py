"""The HTTP tools: read a page, and send a request.

Addresses of this machine and its network are refused (`llmos.tools.web`). Only an application can allow them, by making
its own tools with `http_tools`.
"""

from __future__ import annotations

import codecs
import json
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import MaxLen, MinLen

from llmos.tools.html import read_html
from llmos.tools.output import Output
from llmos.tools.threads import in_thread
from llmos.tools.tool import Failed, Retry, Tool, tool
from llmos.tools.web import MAX_URL, Page, Resolver, fetch, resolve

Allow = Callable[[str, str], bool]
Url = Annotated[str, "https://…", MinLen(8), MaxLen(MAX_URL)]

_TEXT = re.compile(r"text/.*|application/(.+\+)?(json|xml|javascript|yaml|x-ndjson|rss|atom|toml)$")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# the connection itself is not a caller's to describe
_KEPT = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"})


def http_tools(
    *,
    allow_private: Allow = lambda host, address: False,
    resolver: Resolver = resolve,
    trust: ssl.SSLContext | None = None,
) -> tuple[Tool[..., Any], Tool[..., Any]]:
    """`http_get` and `http_request`.

    Args:
        allow_private: Whether an address that is not public may be used for a host (both are passed); never by default.
        resolver: Turns names into addresses.
        trust: Certificates that are accepted; the usual ones by default.
    """

    @tool(
        effect="external",
        steers=("url",),
        returns="outside",
        repeatable=True,
        seconds=30,
        examples=(
            ("what does https://example.org say?", {"url": "https://example.org"}),
            ("read the page http://example.com/news.html", {"url": "http://example.com/news.html"}),
        ),
    )
    async def http_get(url: Url) -> Output:
        """Open a web page or other URL and read its text."""
        page = await fetch("GET", _completed(url), allow=allow_private, resolver=resolver, trust=trust)
        return await in_thread(lambda: as_text(page), name="read page")

    @tool(
        effect="irreversible",
        returns="outside",
        seconds=30,
        examples=(
            (
                "post hello to https://example.org/messages",
                {"method": "POST", "url": "https://example.org/messages", "body": "hello"},
            ),
            ("delete https://example.org/items/7", {"method": "DELETE", "url": "https://example.org/items/7"}),
        ),
    )
    async def http_request(
        method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        url: Url,
        body: Annotated[str, "what to send; JSON is recognized", MaxLen(20_000)] = "",
        headers: Annotated[dict[str, str], "name: value", MaxLen(20)] = {},  # noqa: B006 - never changed
    ) -> Output:
        """Send an HTTP request to a web service: POST, PUT, PATCH, DELETE, with a body and headers."""
        sent = _headers(headers)
        if body and "content-type" not in {name.lower() for name in sent}:
            sent["Content-Type"] = "application/json" if _is_json(body) else "text/plain; charset=utf-8"
        page = await fetch(
            method,
            _completed(url),
            headers=sent,
            body=body.encode(),
            follow=False,
            allow=allow_private,
            resolver=resolver,
            trust=trust,
        )
        if page.location:
            return Output(f"Status {page.status}: it redirects to {page.location}, which was not followed.")
        return await in_thread(lambda: as_text(page), name="read page")

    @http_request.shows
    def show_request(method: str, url: str, body: str, headers: dict[str, str]) -> str:  # pyright: ignore[reportUnusedFunction]
        lines = [f"{method} {url}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\n".join([*lines, "", body] if body else lines)

    return http_get, http_request


def as_text(page: Page) -> Output:
    """What a page says, for a model, with its links as data.

    Raises:
        Failed: It is no text.
    """
    if page.kind and not _TEXT.match(page.kind):
        raise Failed(f"{page.url} is {page.kind} ({len(page.body):,} bytes) and no text.")
    text = page.body.decode(_charset(page), "replace")
    value: dict[str, Any] = {"url": page.url, "status": page.status}
    if page.kind == "text/html" or (not page.kind and text.lstrip()[:15].lower().startswith(("<!doctype", "<html"))):
        document = read_html(text, url=page.url)
        value |= {"title": document.title, "links": [{"text": words, "url": url} for words, url in document.links]}
        heading = f"{document.title}\n" if document.title and document.title not in document.text[:300] else ""
        text = heading + document.text
    elif "\0" in text[:8192]:
        raise Failed(f"{page.url} is binary data ({len(page.body):,} bytes) and no text.")
    failed = page.status >= 400
    text = (f"Status {page.status}.\n{text}" if failed else text) or "(empty)"
    return Output(text + ("\n… the page is longer" if page.cut else ""), value, failed=failed)


def _charset(page: Page) -> str:
    """The encoding that the server or the page names, if it exists."""
    declared = page.charset
    if not declared and (found := re.search(rb"<meta[^>]{1,200}charset=[\"']?([\w-]{2,30})", page.body[:2048], re.I)):
        declared = found[1].decode("ascii", "replace")
    try:
        name = codecs.lookup(declared or "utf-8").name
    except LookupError:
        return "utf-8"
    # codecs that are no character sets, and may blow up
    return (
        name if name not in ("base64", "bz2", "hex", "quopri", "rot13", "uu", "zlib", "idna", "punycode") else "utf-8"
    )


def _completed(url: str) -> str:
    url = url.strip()
    return url if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:(//|[^\d])", url) else f"https://{url}"


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise Retry(f"{name!r} is no header that can be sent.")
        if name.lower() in _KEPT:
            raise Retry(f"The header {name!r} can't be set.")
    return dict(headers)


def _is_json(body: str) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return body.lstrip()[:1] in ("{", "[")


http_get, http_request = http_tools()
