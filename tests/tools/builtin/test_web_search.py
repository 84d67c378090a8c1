"""Web search against a local server of SearXNG's shape, and of the other engines' shapes."""

from __future__ import annotations

import json
from collections.abc import Generator
from urllib.parse import parse_qs, urlsplit

import pytest

from llmos.kernel.calls import Result
from llmos.tools.builtin.web_search import HOW_TO, Brave, SearXNG, Tavily, provider_from, search_tool, web_search
from llmos.tools.tool import Failed
from tests.tools.helpers import Place
from tests.tools.web_server import Server, serving


@pytest.fixture
def server() -> Generator[Server]:
    with serving() as found:
        yield found


def as_json(data: object, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()


async def search(provider: SearXNG | Brave | Tavily, query: str, place: Place) -> Result:
    return await search_tool(lambda: provider).call({"query": query}, place.access())


def local(host: str, address: str) -> bool:
    return address == "127.0.0.1"


async def test_searxng_is_asked_for_json_and_its_pages_are_listed(server: Server, place: Place) -> None:
    server.answers["/search"] = as_json(
        {
            "query": "lease law",
            "results": [
                {
                    "title": "Lease <b>law</b>",
                    "url": "https://example.org/1",
                    "content": "What\n a lease is. " + "x" * 500,
                },
                {"title": "no address", "url": "javascript:alert(1)", "content": ""},
                {"title": None, "url": "https://example.org/2"},
                "junk",
                *({"title": str(n), "url": f"https://example.org/{n}", "content": ""} for n in range(3, 20)),
            ],
        }
    )
    result = await search(SearXNG(server.url("/")), "lease law & more", place)
    assert result.text.splitlines()[:2] == ["1. Lease law", "   https://example.org/1"]
    assert [hit["url"] for hit in result.value] == [f"https://example.org/{n}" for n in range(1, 7)]
    assert len(result.value[0]["snippet"]) == 300
    assert result.label == "outside"
    assert parse_qs(urlsplit(server.asked[0].path).query) == {"q": ["lease law & more"], "format": ["json"]}


async def test_brave_and_tavily_are_asked_with_their_keys(server: Server, place: Place) -> None:
    found = [{"title": "T", "url": "https://example.org", "description": "D", "content": "C"}]
    server.answers["/res/v1/web/search"] = as_json({"web": {"results": found}})
    server.answers["/search"] = as_json({"results": found})
    base = server.url().rstrip("/")
    assert (await search(Brave("key-b", base, local), "q", place)).text == "1. T\n   https://example.org\n   D"
    assert (await search(Tavily("key-t", base, local), "q", place)).text == "1. T\n   https://example.org\n   C"
    assert server.asked[0].headers["X-Subscription-Token"] == "key-b"
    assert server.asked[1].headers["Authorization"] == "Bearer key-t"
    assert json.loads(server.asked[1].body)["query"] == "q"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b"", "does not allow JSON: add `json` to `search.formats`"),
        (429, b"", "status 429: too many searches"),
        (500, b"", "status 500"),
        (200, b"<html>", "did not answer with JSON"),
        (200, b"[" * 100_000, "did not answer with JSON"),
        (200, b'{"results": {"a": 1}}', "Nothing was found"),
        (200, b"[]", "Nothing was found"),
    ],
)
async def test_trouble_of_the_engine_is_said(status: int, body: bytes, said: str, server: Server, place: Place) -> None:
    server.answers["/search"] = (status, {"Content-Type": "text/html"}, body)
    assert said in (await search(SearXNG(server.url()), "q", place)).text


async def test_the_server_that_was_set_up_can_not_lead_elsewhere_on_this_machine(server: Server, place: Place) -> None:
    server.redirect("/search", server.url("/secret", "localhost"))
    result = await search(SearXNG(server.url()), "q", place)
    assert "not allowed" in result.text
    assert len(server.asked) == 1


async def test_without_an_engine_it_says_how_to_set_one_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMOS_SEARCH", raising=False)
    result = await web_search.call({"query": "q"}, place.access())
    assert (result.failed, result.text) == (True, HOW_TO)


def test_the_engine_comes_from_the_environment() -> None:
    assert provider_from({"LLMOS_SEARCH": "http://localhost:8080"}) == SearXNG("http://localhost:8080")
    assert provider_from({"LLMOS_SEARCH": "Brave", "LLMOS_SEARCH_KEY": "k"}) == Brave("k")
    asked: list[tuple[str, str]] = []

    def secret(handle: str, host: str) -> str:
        asked.append((handle, host))
        return "from the keyring"

    settings = {"LLMOS_SEARCH": "tavily", "LLMOS_SEARCH_KEY": "secret://tavily"}
    assert provider_from(settings, secret=secret) == Tavily("from the keyring")
    assert asked == [("secret://tavily", "api.tavily.com")]
    with pytest.raises(Failed, match="can't be looked up here"):
        provider_from(settings)
    with pytest.raises(Failed, match="its key is missing"):
        provider_from({"LLMOS_SEARCH": "brave"})
