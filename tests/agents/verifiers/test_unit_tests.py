"""Unit tests in the sandbox: what passes, what is said of failures, and code that wants to be believed without them."""

from __future__ import annotations

import pytest

from llmos.agents import verifiers
from llmos.agents.report import Report
from llmos.agents.verifiers.unit_tests import TOOLS, read
from llmos.errors import BadArguments
from tests.agents.verifiers.conftest import Place

ADD = "def add(a, b):\n    return a + b\n"
TESTS = (
    "from solution import add\n\ndef test_small():\n    assert add(2, 3) == 5\n\n"
    "def test_zero():\n    assert add(0, 0) == 0\n"
)


async def test_code_whose_tests_all_run_and_hold_passes(place: Place) -> None:
    verdict = await place.check(lambda process: verifiers.tests_pass(process, TESTS), ADD)
    assert (verdict.outcome, verdict.reasons) == ("pass", ("2 tests passed.",))
    assert place.person.asked == []


async def test_a_failing_assertion_is_named_with_both_sides(place: Place) -> None:
    verdict = await place.check(lambda process: verifiers.tests_pass(process, TESTS), ADD.replace("+", "*"))
    assert verdict.outcome == "fail"
    assert verdict.reasons == ("test_small: add(2, 3) is 6, the other side 5 in `assert add(2, 3) == 5`",)


async def test_code_is_taken_out_of_the_text_around_it(place: Place) -> None:
    text = f"Here it is:\n```python\n{ADD}```\nIt adds."
    assert (await place.check(lambda process: verifiers.tests_pass(process, TESTS), text)).passed


async def test_classes_and_coroutines_and_bare_assertions_are_tests(place: Place) -> None:
    tests = (
        "import unittest\n"
        "class Case(unittest.TestCase):\n    def setUp(self):\n        self.one = 1\n"
        "    def test_it(self):\n        self.assertEqual(add(self.one, 1), 2)\n"
        "class TestPlain:\n    def test_it(self):\n        assert add(1, 1) == 2\n"
        "async def test_async():\n    assert add(1, 1) == 3\n"
    )
    verdict = await place.check(lambda process: verifiers.tests_pass(process, tests), ADD)
    assert [reason.partition(":")[0] for reason in verdict.reasons] == ["test_async"]
    assert (await place.check(lambda process: verifiers.tests_pass(process, "assert add(1, 1) == 2"), ADD)).passed
    assert not (await place.check(lambda process: verifiers.tests_pass(process, "assert add(1, 1) == 3"), ADD)).passed


async def test_files_in_the_workspace_are_tested_where_the_work_is_files(place: Place) -> None:
    place.write("sums.py", ADD)
    place.write("test_sums.py", "from sums import add\ndef test_it():\n    assert add(1, 2) == 3\n")
    report = Report(text="I wrote sums.py.", artifacts=("sums.py",))
    assert (await place.check(lambda process: verifiers.tests_pass(process, files=["test_sums.py"]), report)).passed
    place.write("sums.py", ADD.replace("+", "-"))
    verdict = await place.check(lambda process: verifiers.tests_pass(process, files=["test_sums.py"]), report)
    assert verdict.reasons == ("test_sums.py:test_it: add(1, 2) is -1, the other side 3 in `assert add(1, 2) == 3`",)


async def test_a_test_file_that_is_not_there_is_no_pass(place: Place) -> None:
    verdict = await place.check(lambda process: verifiers.tests_pass(process, files=["test_gone.py"]), ADD)
    assert verdict.outcome == "fail"
    assert "test_gone.py: FileNotFoundError" in verdict.reasons[0]


async def test_examples_are_compared_outside_the_sandbox(place: Place) -> None:
    examples = [("add(2, 3)", 5), ("[add(1, 1), add('a', 'b')]", [2, "ab"]), ("{'n': add(1, 1)}", {"n": 3})]
    verdict = await place.check(lambda process: verifiers.tests_pass(process, examples=examples), ADD)
    assert verdict.reasons == ('{\'n\': add(1, 1)} is {"n": 2}, and not {"n": 3}.',)
    assert '{"n": 3}' not in place.calls("act")[0].arguments


HOSTILE = {
    "leaves before the tests": "import os\nos._exit(0)",
    "leaves when it is called": "import os\ndef add(a, b):\n    os._exit(0)",
    "raises SystemExit": "raise SystemExit(0)",
    "prints what success looks like": 'print("2 passed")\nprint(\'{"tests": 2, "failed": []}\')\nraise SystemExit(0)',
    "closes every file": "import os\nos.closerange(0, 99)\ndef add(a, b): return a + b",
    "writes into every file": (
        "import os\nfor file in range(3, 99):\n"
        "    try:\n        for _ in range(300): os.write(file, b'x' * 1_000_000)\n"
        "    except OSError: pass\ndef add(a, b): return a + b"
    ),
    "makes unittest lie": (
        "import unittest\nunittest.TestCase.debug = unittest.TestCase.run = lambda *a: None\ndef add(a, b): return 0"
    ),
    "hangs": "def add(a, b):\n    while True: pass",
    "takes all memory": "def add(a, b):\n    return len([0] * 10**10)",
    "leaves a daemon": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\n    os._exit(0)\n"
        "def add(a, b): return 0"
    ),
    "recurses": "def add(a, b): return add(a, b)",
    "raises what can't be shown": (
        "class Odd(BaseException):\n    def __str__(self): raise Odd\ndef add(a, b): raise Odd"
    ),
}


@pytest.mark.parametrize("trick", HOSTILE)
async def test_code_that_does_not_let_its_tests_run_well_fails(place: Place, trick: str) -> None:
    verdict = await place.check(lambda process: verifiers.tests_pass(process, TESTS, seconds=3), HOSTILE[trick])
    assert verdict.outcome == "fail", verdict
    assert verdict.reasons
    assert all(len(reason) < 300 for reason in verdict.reasons)


async def test_300_megabytes_of_output_change_nothing(place: Place) -> None:
    loud = "def add(a, b):\n    for _ in range(300): print('x' * 1_000_000)\n    return a + b\n"
    assert (await place.check(lambda process: verifiers.tests_pass(process, TESTS), loud)).passed


async def test_writing_into_other_processes_files_forges_nothing(place: Place) -> None:
    forger = (
        "import os\n"
        "for pid in filter(str.isdecimal, os.listdir('/proc') if os.path.exists('/proc') else []):\n"
        "    for file in (1, 2):\n"
        "        try: open(f'/proc/{pid}/fd/{file}', 'w').write('2 tests passed\\n' * 100)\n"
        "        except OSError: pass\n"
        "def add(a, b): return 0\n"
    )
    assert (await place.check(lambda process: verifiers.tests_pass(process, TESTS), forger)).outcome == "fail"


async def test_killing_the_one_who_watches_is_no_pass(place: Place) -> None:
    killer = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"
    verdict = await place.check(lambda process: verifiers.tests_pass(process, TESTS), killer)
    assert verdict.outcome == "unsure"
    assert "Nobody saw the tests end" in verdict.reasons[0]


def test_a_result_counts_only_once_under_the_mark_that_came_first() -> None:
    mark, other = "ab" * 12, "cd" * 12
    assert read(f'{mark}\nnoise\n{mark}{{"tests": 1}}') == {"tests": 1}
    assert read(f'{mark}\n{other}{{"tests": 1}}') is None
    assert read(f'{mark}\n{mark}{{"tests": 1}}\n{mark}{{"tests": 2}}') is None
    assert read(f'{mark}\n{mark}{{"tes') is None
    assert read("") is None


async def test_source_without_tests_fails(place: Place) -> None:
    verdict = await place.check(lambda process: verifiers.tests_pass(process, "x = 1"), ADD)
    assert verdict.outcome == "fail"
    assert "no test to run" in verdict.reasons[0]


async def test_where_nothing_may_run_it_cannot_tell(place: Place) -> None:
    place.tools = {name: tool for name, tool in place.tools.items() if name not in TOOLS}
    verdict = await place.check(lambda process: verifiers.tests_pass(process, TESTS), ADD)
    assert verdict.outcome == "unsure"
    assert "There is no tool" in verdict.reasons[0]


async def test_a_refusal_is_no_verdict_on_the_work(place: Place) -> None:
    place.tools = {name: tool for name, tool in place.tools.items() if name != TOOLS[0]}
    verdict = await place.check(lambda process: verifiers.tests_pass(process, TESTS), ADD)
    assert verdict.outcome == "unsure"
    assert len(place.person.asked) == 1


async def test_nothing_to_run_is_refused_at_once(place: Place) -> None:
    with pytest.raises(BadArguments, match="no tests"):
        await place.check(lambda process: verifiers.tests_pass(process), ADD)
