"""Tools of a server that keeps the rules, built with the official SDK."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.config import data_dir
from llmos.errors import BadArguments, Denied, Unsupported
from llmos.kernel.calls import Traits
from llmos.tools.mcp.look import look
from llmos.tools.mcp.settings import ToolRule
from llmos.tools.secrets import Secrets
from tests.tools.helpers import Place
from tests.tools.mcp.conftest import HERE, Bench, gone, is_alive


async def test_a_tool_of_a_server_is_called_and_its_result_is_from_outside(bench: Bench, place: Place) -> None:
    add = (await bench.tools(bench.sdk()))["add"]
    assert add.spec.name == "sample__add"
    assert add.spec.description == "Add two numbers."
    result = await add.call(add.check({"a": 40}), place.access())
    assert (result.text, result.value, result.label, result.failed) == ("42", {"result": 42}, "outside", False)


async def test_nothing_that_a_server_says_of_a_tool_makes_it_harmless(bench: Bench) -> None:
    tools = await bench.tools(bench.sdk())
    assert tools["add"].traits == Traits(
        effect="external", steers=frozenset({"a", "b"}), returns="outside", seconds=120.0, parallel=4
    )
    assert {tool.traits.effect for tool in tools.values()} == {"external"}


async def test_the_user_says_what_a_tool_may_do_but_not_that_its_results_are_trusted(bench: Bench) -> None:
    rules = {"add": ToolRule(effect="reads"), "send_mail": ToolRule(effect="irreversible", steers=frozenset({"to"}))}
    tools = await bench.tools(bench.sdk(rules=rules))
    assert tools["add"].traits.effect == "reads"
    assert tools["add"].traits.repeatable
    assert tools["send_mail"].traits.effect == "irreversible"
    assert tools["send_mail"].traits.steers == {"to"}
    assert {tool.traits.returns for tool in tools.values()} == {"outside"}


async def test_only_the_tools_that_the_user_wants_are_offered(bench: Bench) -> None:
    assert (await bench.tools(bench.sdk(only=("add", "news")))).keys() == {"add", "news"}


async def test_arguments_that_do_not_fit_are_refused_before_the_server_sees_them(bench: Bench) -> None:
    add = (await bench.tools(bench.sdk()))["add"]
    with pytest.raises(BadArguments, match="a: is missing"):
        add.check({})
    with pytest.raises(BadArguments, match="not of type 'integer'"):
        add.check({"a": "many"})
    with pytest.raises(BadArguments, match="c: there is no such argument"):
        add.check({"a": 1, "c": 2})


async def test_a_default_is_left_to_the_server_so_that_it_never_counts_as_the_users(bench: Bench) -> None:
    add = (await bench.tools(bench.sdk()))["add"]
    assert add.check({"a": 1}) == {"a": 1}


async def test_pictures_links_and_resources_are_named_for_what_they_are(bench: Bench, place: Place) -> None:
    picture = (await bench.tools(bench.sdk()))["picture"]
    text = (await picture.call({}, place.access())).text
    assert text.splitlines() == [
        "[image, image/png, 100 bytes: it can't be shown here]",
        "[link to plan: file:///plan.pdf]",
        "[memo://1]",
        "the memo",
    ]


async def test_a_tool_that_fails_is_a_failed_result_with_its_reason(bench: Bench, place: Place) -> None:
    fail = (await bench.tools(bench.sdk()))["fail"]
    result = await fail.call({"why": "no paper"}, place.access())
    assert result.failed
    assert result.label == "outside"


async def test_a_long_result_is_cut_and_kept_whole(bench: Bench, place: Place) -> None:
    big = (await bench.tools(bench.sdk()))["big"]
    result = await big.call({"megabytes": 2}, place.access())
    assert len(result.text) < 17_000
    assert (place.folder / result.file).stat().st_size == 2 << 20


async def test_progress_is_told_in_one_harmless_line(bench: Bench, place: Place) -> None:
    slow = (await bench.tools(bench.sdk()))["slow"]
    assert (await slow.call({"seconds": 0.1}, place.access())).text == "awake"
    assert place.said == ["sample__slow: 25% a\\u202equarter"]


async def test_a_call_that_is_cancelled_is_cancelled_at_the_server(bench: Bench, place: Place) -> None:
    tools = await bench.tools(bench.sdk())
    calling = asyncio.create_task(tools["slow"].call({"seconds": 60}, place.access()))
    async with asyncio.timeout(20):
        while not place.said:
            await asyncio.sleep(0.02)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    async with asyncio.timeout(20):
        while not bench.mail.exists():
            await asyncio.sleep(0.02)
    assert bench.mail.read_text() == "cancelled\n"
    assert (await tools["add"].call({"a": 1}, place.access())).text == "3"


async def test_calls_run_side_by_side_on_one_server(bench: Bench, place: Place) -> None:
    add = (await bench.tools(bench.sdk()))["add"]
    results = await asyncio.gather(*(add.call({"a": n, "b": 0}, place.access()) for n in range(20)))
    assert [result.text for result in results] == [str(n) for n in range(20)]


async def test_a_server_gets_a_small_environment_and_its_secrets(
    bench: Bench, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-servers")
    Secrets(data_dir(), vault=None).set("github", "ghp_0123456789", tool="mcp.sample", host="")
    server = bench.sdk(env={"TOKEN": "secret://github"})
    environment = (await bench.tools(server))["environment"]
    value = (await environment.call({}, place.access())).value
    assert value["TOKEN"] == "ghp_0123456789"
    assert set(value) <= {
        "TOKEN",
        "MAIL",
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TMPDIR",
    } | {*("TZ", "USER", "PWD", "__CF_USER_TEXT_ENCODING")}


async def test_a_server_gets_no_secret_of_another(bench: Bench, place: Place) -> None:
    Secrets(data_dir(), vault=None).set("github", "ghp_0123456789", tool="mcp.other", host="")
    with pytest.raises(Denied, match=r"may not be used by 'mcp\.sample'"):
        await look(bench.sdk(env={"TOKEN": "secret://github"}))


async def test_a_person_is_shown_which_server_gets_what(bench: Bench, place: Place) -> None:
    send = (await bench.tools(bench.sdk()))["send_mail"]
    shown = send.show({"to": "ann\u202e", "text": "hello"}, place.access())
    assert shown.startswith("send_mail of the MCP server 'sample' (")
    assert "ann\\u202e" in shown


async def test_nobody_can_tell_after_a_crash_whether_a_call_was_carried_out(bench: Bench, place: Place) -> None:
    send = (await bench.tools(bench.sdk()))["send_mail"]
    with pytest.raises(Unsupported):
        await send.done({"to": "ann", "text": "hello"}, place.access())


async def test_looking_at_the_tools_starts_no_server(bench: Bench, place: Place) -> None:
    await bench.tools(bench.sdk())
    broken = bench.sdk(cwd=str(bench.folder / "nowhere"))
    tools = bench.accepted(broken)
    assert tools["add"].spec.parameters["required"] == ["a"]
    result = await tools["add"].call({"a": 1}, place.access())
    assert result.failed
    assert "there is no folder" in result.text


async def test_what_a_server_started_ends_with_it_even_in_a_session_of_its_own(bench: Bench, place: Place) -> None:
    spawn = (await bench.tools(bench.sdk()))["spawn"]
    child = (await spawn.call({}, place.access())).value["result"]
    assert is_alive(child)
    await bench.pool.close()
    await gone(child)


HOST = """
import asyncio, sys
from pathlib import Path
from tests.tools.helpers import Place
from tests.tools.mcp.conftest import Bench

async def main():
    bench = Bench(Path(sys.argv[1]))
    tools = await bench.tools(bench.sdk())
    place = Place(Path(sys.argv[1]) / "place")
    child = (await tools["spawn"].call({}, place.access())).value["result"]
    print(child, flush=True)
    await asyncio.sleep(300)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to the keeper")
async def test_servers_end_when_their_host_is_killed(bench: Bench) -> None:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", HOST, str(bench.folder)], stdout=subprocess.PIPE, text=True, env=environment
    ) as host:
        assert host.stdout is not None
        child = int(host.stdout.readline())
        parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
        assert is_alive(child)
        assert is_alive(parent)
        os.kill(host.pid, signal.SIGKILL)
    await gone(child)
    await gone(parent)
