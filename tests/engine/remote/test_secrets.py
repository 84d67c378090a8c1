"""The API key goes to the server it belongs to and nowhere else."""

from __future__ import annotations

import logging
import pickle
import traceback

import pytest

from llmos.engine.remote import RemoteEngine, Timeouts
from llmos.engine.remote.address import Address
from llmos.errors import ConfigError, LlmosError, RealModelForbidden
from llmos.messages import Context, Generate
from tests.engine.remote.conftest import Open, collect
from tests.engine.remote.server import CHAT, Server, refuses, says

KEY = "sk-very-secret-4711"
ASK = Generate(context=Context.chat("Hello"))


def parts(engine: RemoteEngine) -> list[str]:
    """What is in an engine, and in what is in it."""
    values: list[object] = list(vars(engine).values())
    return [repr(value) for value in values] + [repr(vars(value)) for value in values if hasattr(value, "__dict__")]


async def test_the_key_is_in_no_text_that_anybody_sees(
    server: Server, remote: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.on(CHAT, says("ok"), refuses(401, f"Incorrect API key provided: {KEY}"))
    engine = remote(api_key=f" {KEY}\n")
    await collect(engine, ASK)
    with pytest.raises(LlmosError) as caught:
        await collect(engine, ASK)
    assert server.received[-1].headers["authorization"] == f"Bearer {KEY}"
    seen = [
        repr(engine),
        str(engine.info),
        *parts(engine),
        "".join(traceback.format_exception(caught.value)),
        pickle.dumps(caught.value.args).decode("latin-1"),
        caplog.text,
    ]
    assert not [text for text in seen if KEY in text]
    assert "[api key]" in str(caught.value)


def test_a_key_crosses_the_network_only_encrypted_unless_allowed() -> None:
    for url in ("http://192.168.1.5:8080", "http://example.com/v1", "http://127.0.0.1.example.com"):
        with pytest.raises(ConfigError, match="not encrypted"):
            RemoteEngine(url, "m", api_key=KEY)
        assert Address.of(url, api_key=KEY, allow_plain_http=True).key == KEY
        assert not Address.of(url).key
    for url in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "https://example.com"):
        assert Address.of(url, api_key=KEY).key == KEY


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://example.com", "http://", "http://a b", "http://h:99999", "http://h/?q=1", "http://[::1"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        RemoteEngine(url, "m")


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteEngine(f"https://user:{KEY}@example.com", "m")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nend", "schlüssel"])
def test_a_malformed_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteEngine("https://example.com", "m", api_key=key)
    assert key not in str(caught.value)


def test_an_address_gets_its_version_and_its_root() -> None:
    assert Address.of("http://localhost:8080").base == "http://localhost:8080/v1"
    assert Address.of("http://[::1]:8080/").root == "http://[::1]:8080"
    assert Address.of("https://Example.com/openai/v1/").base == "https://example.com/openai/v1"
    assert Address.of("https://example.com/api/v3").base == "https://example.com/api/v3"


def test_options_out_of_range_are_refused() -> None:
    for options in ({"retries": -1}, {"concurrency": 0}):
        with pytest.raises(ConfigError):
            RemoteEngine("http://localhost", "m", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        RemoteEngine("http://localhost", "")
    with pytest.raises(ConfigError):
        Timeouts(idle=0)


def test_tests_can_forbid_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOS_FORBID_REAL_MODELS", "1")
    with pytest.raises(RealModelForbidden):
        RemoteEngine("http://localhost", "m")


async def test_a_proxy_in_the_environment_never_sees_what_is_local(
    server: Server, remote: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.on(CHAT, says("ok"))
    await collect(remote(api_key=KEY), ASK)
