"""The web search tool, over one of several search engines behind one protocol.

Which one is a setting: `search` is the address of a SearXNG server, or `brave` or `tavily`, whose key is the secret of
that name or what `search_key` says. Knows of no engine that needs neither, and keeps no key.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast
from urllib.parse import urlencode, urlsplit

from annotated_types import MaxLen, MinLen

from llmos.config import Settings, load_settings
from llmos.errors import ConfigError, Denied
from llmos.kernel.protocols import Access
from llmos.tools.html import read_html
from llmos.tools.output import Output
from llmos.tools.secrets import HANDLE
from llmos.tools.tool import Failed, Tool, tool
from llmos.tools.web import Page, fetch

MAX_HITS = 6
MAX_SNIPPET = 300
HOW_TO = (
    "No search engine is set up. Write into the settings file, or set as LLMOS_SEARCH: search = the address of a "
    "SearXNG server with JSON enabled, or 'brave' or 'tavily' with its API key kept by "
    "`llmos secret set brave --tool web_search --host api.search.brave.com` "
    "or `llmos secret set tavily --tool web_search --host api.tavily.com`."
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


def provider_from(settings: Settings, *, secret: Callable[[str, str], str]) -> Provider:
    """The search engine that is set up.

    Args:
        settings: `search`, `search_key`.
        secret: Turns a `secret://name` into the key, for the host it will be sent to.

    Raises:
        Failed: None is, or its key is missing; the message says how to set it up.
    """
    chosen = settings.search
    if chosen.startswith(("http://", "https://")):
        return SearXNG(chosen)
    if chosen not in ("brave", "tavily"):
        raise Failed(HOW_TO)
    engine = Brave if chosen == "brave" else Tavily
    key = settings.search_key.strip() or f"secret://{chosen}"
    handle = HANDLE.fullmatch(key)
    if handle is None:
        return engine(key)
    host = urlsplit(engine("").address).hostname or ""
    try:
        return engine(secret(key, host))
    except (ConfigError, Denied) as error:
        hint = f"Set it: llmos secret set {handle[1]} --tool web_search --host {host}"
        raise Failed(f"The key of the search engine {chosen!r} can't be had: {error.message} {hint}") from error


def search_tool(provider: Callable[[], Provider]) -> Tool[..., Any]:
    """`web_search` over a provider, which is asked for at each call."""
    return _search_tool(lambda access: provider())


def _search_tool(provider: Callable[[Access], Provider]) -> Tool[..., Any]:
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
    async def web_search(access: Access, query: Annotated[str, "a few words", MinLen(1), MaxLen(200)]) -> Output:
        """Search the web, the internet, for news, facts and pages."""
        hits = await provider(access).search(query, count=MAX_HITS)
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


web_search = _search_tool(lambda access: provider_from(load_settings(), secret=access.secret))
