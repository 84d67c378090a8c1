"""Web search against a local server of SearXNG's shape, and of the other engines' shapes."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from llmos import Kernel
from llmos.config import Settings
from llmos.kernel.calls import Result
from llmos.kernel.process import Process
from llmos.runs import Parts
from llmos.tools.builtin.web_search import HOW_TO, Brave, SearXNG, Tavily, provider_from, search_tool, web_search
from llmos.tools.secrets import Secrets
from tests.kernel.conftest import Permissive
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


async def test_the_address_comes_from_the_settings_file_or_the_environment(
    server: Server, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.answers["/search"] = as_json({"results": [{"title": "T", "url": "https://example.org", "content": "C"}]})
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text(f'search = "{server.url()}"')
    assert "https://example.org" in (await web_search.call({"query": "q"}, place.access())).text
    monkeypatch.setenv("LLMOS_SEARCH", "http://127.0.0.1:9")
    assert (await web_search.call({"query": "q"}, place.access())).failed
    assert len(server.asked) == 1


def test_a_key_is_what_the_settings_say_or_the_secret_of_the_engines_name() -> None:
    asked: list[tuple[str, str]] = []

    def secret(handle: str, host: str) -> str:
        asked.append((handle, host))
        return "from the vault"

    assert provider_from(Settings(search="http://localhost:8080"), secret=secret) == SearXNG("http://localhost:8080")
    assert provider_from(Settings(search="brave", search_key="k"), secret=secret) == Brave("k")
    assert asked == []
    assert provider_from(Settings(search="brave"), secret=secret) == Brave("from the vault")
    mine = Settings(search="tavily", search_key="secret://mine")
    assert provider_from(mine, secret=secret) == Tavily("from the vault")
    assert asked == [("secret://brave", "api.search.brave.com"), ("secret://mine", "api.tavily.com")]


@pytest.mark.parametrize("bound", [False, True])
async def test_a_missing_key_and_one_for_something_else_say_the_command(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bound: bool
) -> None:
    monkeypatch.setenv("LLMOS_SEARCH", "tavily")
    vault = Secrets(tmp_path, vault=None)
    if bound:
        vault.set("tavily", "tvly-something", tool="web_search", host="api.search.brave.com")

    def secret(handle: str, host: str) -> str:
        return str(vault.resolve({"key": handle}, tool="web_search", host=host)["key"])

    result = await web_search.call({"query": "q"}, replace(place.access(), secret=secret))
    assert result.failed
    assert ("may not be used by 'web_search' for 'api.tavily.com'" if bound else "no secret 'tavily'") in result.text
    assert "llmos secret set tavily --tool web_search --host api.tavily.com" in result.text
    assert "tvly" not in result.text


async def test_in_a_run_the_key_comes_from_the_vault_and_is_in_no_record(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The engine is a server on this machine that repeats the key it was given."""
    key, base = "bsa-very-secret-key", server.url().rstrip("/")
    repeats = [{"title": key, "url": f"https://example.org/?k={key}", "description": "D"}]
    server.answers["/res/v1/web/search"] = as_json({"web": {"results": repeats}})
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setattr(Brave, "__init__", _brave_at(base))
    monkeypatch.setenv("LLMOS_SEARCH", "brave")
    Secrets(tmp_path, vault=None).set("brave", key, tool="web_search", host="127.0.0.1")

    async def look(process: Process) -> str:
        return (await process.act("web_search", {"query": "opening hours"})).text

    async with Kernel.testing(parts=Parts(folder=tmp_path, policy=Permissive(), tools=[web_search])) as kernel:
        text = await (await kernel.spawn(look)).result()
    assert server.asked[0].headers["X-Subscription-Token"] == key
    assert text == "1. secret://brave\n   https://example.org/?k=secret://brave\n   D"
    journal = b"".join(path.read_bytes() for path in tmp_path.glob("journal*"))
    assert b"opening hours" in journal
    assert key.encode() not in journal


def _brave_at(base: str) -> Callable[[Brave, str], None]:
    """A constructor of the engine at another address."""

    def construct(self: Brave, key: str) -> None:
        for name, value in {"key": key, "address": base, "allow": local}.items():
            object.__setattr__(self, name, value)

    return construct
