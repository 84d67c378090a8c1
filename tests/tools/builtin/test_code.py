"""The Python and shell tools, in the real sandbox where this machine has one."""

from __future__ import annotations

import shutil
import socket
import sys
import tracemalloc

import pytest

from llmos.errors import SandboxUnavailable
from llmos.kernel.calls import Result
from llmos.kernel.protocols import Device
from llmos.tools.builtin import code
from llmos.tools.builtin.code import code_tools, python, run_short, shell
from tests.tools.helpers import Place


async def run(device: Device, place: Place, /, **arguments: str | int) -> Result:
    result = await device.call(device.check(arguments), place.access())
    if result.failed and result.text.startswith("This machine has no way to confine"):
        pytest.skip(result.text)
    return result


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("1 + 1", "2"),
        ("x = 3\nx * 2  # twice", "6"),
        ("print('a')\n'b'", "a\nb"),
        ("for n in range(3):\n    print(n)", "0\n1\n2"),
        ("[n for n in range(2, 30) if all(n % d for d in range(2, n))]", "[2, 3, 5, 7, 11, 13, 17, 19, 23, 29]"),
        ("a = '''x\ny'''; a", "x\ny"),
        ("ä = 'ü'; ä + 'é'", "üé"),
        ("None", "(no output)"),
        ("", "(no output)"),
    ],
)
def test_short_code_runs_at_once(source: str, text: str) -> None:
    assert run_short(source) == text


@pytest.mark.parametrize(
    "source",
    [
        *("open('/etc/hostname').read()", "import socket", "1 / 0", "while True: pass", "'x' * 10**10", "(", "\0"),
        *("[0] * 10**10", "def f(): return f()\nf()", "while True: print('x' * 1000)", "import time; time.sleep(9)"),
        *("(" * 3000, "import os; os.system('true')"),
    ],
)
def test_what_can_not_run_at_once_is_left_to_the_sandbox(source: str) -> None:
    assert run_short(source) is None


async def test_full_python_works_in_the_workspace(place: Place) -> None:
    place.write("data.csv", "a,b\n1,2\n3,4\n")
    result = await run(python, place, code="import csv\nrows = list(csv.reader(open('data.csv')))\nlen(rows)")
    assert (result.text, result.failed, result.label) == ("3", False, "files")
    await run(python, place, code="open('made.txt', 'w').write('yes')")
    assert (place.workspace / "made.txt").read_text() == "yes"


async def test_an_error_in_the_code_shows_its_own_traceback_only(place: Place) -> None:
    result = await run(python, place, code="def f():\n    return 1 / 0\nf()")
    assert result.failed
    assert "ZeroDivisionError" in result.text
    assert "<code>" in result.text
    assert "_RUNNER" not in result.text
    assert "linecache" not in result.text
    result = await run(python, place, code="1 +")
    assert "SyntaxError" in result.text


async def test_code_reaches_neither_other_files_nor_the_network(place: Place) -> None:
    secret = place.root / "secret.txt"
    secret.write_text("the secret", encoding="utf-8")
    reading = await run(python, place, code=f"open({str(secret)!r}).read()")
    assert reading.failed
    assert "the secret" not in reading.text
    # it may have a folder of its own in that place
    await run(python, place, code=f"open({str(secret)!r}, 'w').write('x')")
    assert secret.read_text() == "the secret"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        result = await run(python, place, code=f"import socket\nsocket.create_connection({address!r}, 2)")
        assert result.failed


async def test_a_command_runs_in_the_workspace_and_says_how_it_ended(place: Place) -> None:
    place.write("a.txt", "one\ntwo\n")
    assert (await run(shell, place, command="wc -l < a.txt; echo err >&2")).text.split() == ["2", "err"]
    result = await run(shell, place, command="echo no; exit 3")
    assert (result.text, result.failed) == ("no\n(exit code 3)", True)
    assert (await run(shell, place, command="true")).text == "(no output)"
    assert "signal 9" in (await run(shell, place, command="kill -9 $$")).text


async def test_a_program_that_prints_without_end_or_no_utf8_is_cut(place: Place) -> None:
    tracemalloc.start()
    result = await run(shell, place, command="head -c 300000000 /dev/zero | tr '\\0' x; printf '\\377'")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
    assert (
        f"printed {300_000_001 - code.MAX_OUTPUT:,} bytes more"
        in (place.folder / result.file).read_text("utf-8")[-200:]
    )
    assert len(result.text) < 20_000
    assert (place.folder / result.file).stat().st_size < 5_000_000
    result = await run(shell, place, command="printf 'a\\377b'")
    assert result.text == "a\N{REPLACEMENT CHARACTER}b"


async def test_a_program_that_hangs_is_stopped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "SECONDS", 1.0)
    result = await run(shell, place, command="sleep 60 & sleep 60")
    assert "(stopped after 1 s)" in result.text


async def test_without_a_sandbox_nothing_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, unsafe: bool = False) -> None:
        raise SandboxUnavailable("This machine can't confine programs.")

    monkeypatch.setattr("llmos.tools.sandbox.Sandbox.best", refuse)
    result = await python.call({"code": "open('x', 'w')"}, place.access())
    assert (result.failed, result.text) == (True, "This machine can't confine programs.")


def test_the_person_who_is_asked_sees_the_whole_program(place: Place) -> None:
    assert shell.show({"command": "rm \u202e*"}, place.access()) == (
        "run in the workspace, without network:\n$ rm \\u202e*"
    )
    assert python.show({"code": "a\nb"}, place.access()).endswith(":\na\nb")


def test_unconfined_code_is_not_covered_by_the_grant_of_the_workspace(place: Place) -> None:
    for device in code_tools(unsafe=True):
        assert device.traits.confined is None
        name = next(iter(device.spec.parameters["properties"]))
        assert "perhaps unconfined" in device.show({name: "x"}, place.access())


def test_what_it_runs_is_there() -> None:
    assert shutil.which("sh")
    assert sys.executable
