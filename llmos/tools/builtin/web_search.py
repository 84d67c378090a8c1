"""The web search tool, over one of several search engines behind one protocol.

Which one is a setting: `LLMOS_SEARCH` is the address of a SearXNG server, or `brave` or `tavily` with a key in
`LLMOS_SEARCH_KEY`. Knows of no engine that needs neither.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast
from urllib.parse import urlencode, urlsplit

from annotated_types import MaxLen, MinLen

from llmos.tools.html import read_html
from llmos.tools.output import Output
from llmos.tools.secrets import HANDLE
from llmos.tools.tool import Failed, Tool, tool
from llmos.tools.web import Page, fetch

MAX_HITS = 6
MAX_SNIPPET = 300
HOW_TO = (
    "No search engine is set up. Set LLMOS_SEARCH to the address of a SearXNG server with JSON enabled, or to 'brave' "
    "or 'tavily' with its API key in LLMOS_SEARCH_KEY."
)


@dataclass(frozen=True, slots=True)
class Hit:
    """One page found."""

    title: str
    url: str
    snippet: str


class Provider(Protocol):
    """A search engine."""

    async def search(self, query: str, /, *, count: int) -> list[Hit]:
        """The best pages for a query.

        Raises:
            Failed: The engine refused, or can't be reached.
        """
        ...


@dataclass(frozen=True, slots=True)
class SearXNG:
    """A SearXNG server. Its address was set by the user, so that it may be on this machine or in its network."""

    address: str

    async def search(self, query: str, /, *, count: int) -> list[Hit]:
        """See `Provider`."""
        host = urlsplit(self.address).hostname
        page = await fetch(
            "GET",
            f"{self.address.rstrip('/')}/search?{urlencode({'q': query, 'format': 'json'})}",
            allow=lambda asked, address: asked == host,
        )
        if page.status == 403:
            raise Failed("The SearXNG server does not allow JSON: add `json` to `search.formats` in its settings.")
        return _hits(_records(page, "results"), "content", count)


@dataclass(frozen=True, slots=True)
class Brave:
    """The Brave Search API."""

    key: str
    address: str = "https://api.search.brave.com"
    allow: Callable[[str, str], bool] = lambda host, address: False

    async def search(self, query: str, /, *, count: int) -> list[Hit]:
        """See `Provider`."""
        page = await fetch(
            "GET",
            f"{self.address}/res/v1/web/search?{urlencode({'q': query, 'count': count})}",
            headers={"X-Subscription-Token": self.key, "Accept": "application/json"},
            follow=False,
            allow=self.allow,
        )
        return _hits(_records(page, "web", "results"), "description", count)


@dataclass(frozen=True, slots=True)
class Tavily:
    """The Tavily Search API."""

    key: str
    address: str = "https://api.tavily.com"
    allow: Callable[[str, str], bool] = lambda host, address: False

    async def search(self, query: str, /, *, count: int) -> list[Hit]:
        """See `Provider`."""
        page = await fetch(
            "POST",
            f"{self.address}/search",
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
            body=json.dumps({"query": query, "max_results": count}).encode(),
            follow=False,
            allow=self.allow,
        )
        return _hits(_records(page, "results"), "content", count)


def provider_from(environment: Mapping[str, str], *, secret: Callable[[str, str], str] | None = None) -> Provider:
    """The search engine that is set up.

    Args:
        environment: `LLMOS_SEARCH`, `LLMOS_SEARCH_KEY`.
        secret: Turns a `secret://name` into the key, for the host it will be sent to.

    Raises:
        Failed: None is; the message says how to set one up.
    """
    chosen = environment.get("LLMOS_SEARCH", "").strip()
    key = environment.get("LLMOS_SEARCH_KEY", "").strip()
    if chosen.startswith(("http://", "https://")):
        return SearXNG(chosen)
    if chosen.lower() not in ("brave", "tavily"):
        raise Failed(HOW_TO)
    engine = Brave if chosen.lower() == "brave" else Tavily
    if HANDLE.fullmatch(key):
        if not secret:
            raise Failed(f"{key} can't be looked up here. Put the key itself into LLMOS_SEARCH_KEY.")
        key = secret(key, urlsplit(engine("").address).hostname or "")
    if not key:
        raise Failed(f"LLMOS_SEARCH is {chosen!r}, and its key is missing. Put it into LLMOS_SEARCH_KEY.")
    return engine(key)


def search_tool(provider: Callable[[], Provider]) -> Tool[..., Any]:
    """`web_search` over a provider, which is asked for at each call."""

    @tool(
        name="web_search",
        effect="external",
        steers=("query",),
        returns="outside",
        repeatable=True,
        seconds=30,
        examples=(
            ("search the web for opening hours of the Louvre", {"query": "opening hours of the Louvre"}),
            ("who won the last World Cup?", {"query": "winner of the last World Cup"}),
        ),
    )
    async def web_search(query: Annotated[str, "a few words", MinLen(1), MaxLen(200)]) -> Output:
        """Search the web, the internet, for news, facts and pages."""
        hits = await provider().search(query, count=MAX_HITS)
        if not hits:
            return Output("Nothing was found.", [])
        rows = [f"{number}. {hit.title}\n   {hit.url}\n   {hit.snippet}" for number, hit in enumerate(hits, 1)]
        return Output("\n".join(rows), hits)

    return web_search


def _records(page: Page, *keys: str) -> list[Any]:
    """The list at some keys of a JSON answer."""
    host = urlsplit(page.url).hostname
    if page.status != 200:
        hint = (
            ": the key was refused"
            if page.status in (401, 403)
            else ": too many searches"
            if page.status == 429
            else ""
        )
        raise Failed(f"The search engine at {host} answered with status {page.status}{hint}.")
    try:
        found: Any = json.loads(page.body)
    except (ValueError, RecursionError) as error:
        raise Failed(f"The search engine at {host} did not answer with JSON.") from error
    for key in keys:
        found = cast("dict[str, Any]", found).get(key) if isinstance(found, dict) else None
    return cast("list[Any]", found) if isinstance(found, list | tuple) else []


def _hits(records: list[Any], snippet: str, count: int) -> list[Hit]:
    hits: list[Hit] = []
    for record in records:
        if not isinstance(record, dict):
            continue
        entry = cast("dict[str, Any]", record)
        url = str(entry.get("url") or "")
        if url.startswith(("http://", "https://")):
            hits.append(Hit(_plain(entry.get("title"), 150), url, _plain(entry.get(snippet), MAX_SNIPPET)))
    return hits[:count]


def _plain(text: object, limit: int) -> str:
    """Words without markup and line ends."""
    words = " ".join(read_html(str(text or "")).text.split())
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


web_search = search_tool(lambda: provider_from(os.environ))
