"""The Python and shell tools: code that is confined to the workspace and has no network.

Short Python runs in Monty, an interpreter of a subset that can touch nothing and starts at once; what it can't do, and
everything else, runs in the sandbox. Without a sandbox nothing runs unconfined.
"""

from __future__ import annotations

import ast
import atexit
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import MaxLen, MinLen

from llmos.kernel.protocols import Access
from llmos.tools.moments import zone_of
from llmos.tools.output import Output
from llmos.tools.threads import in_thread
from llmos.tools.tool import Tool, tool

if TYPE_CHECKING:
    from pydantic_monty import Monty

    from llmos.tools.sandbox import Completed

SECONDS = 30.0
MEMORY = 1 << 30
MAX_OUTPUT = 4 << 20
"""Bytes of output that are kept; the rest is dropped while the program runs."""

SHORT_SECONDS = 1.0
SHORT_MEMORY = 64 << 20
SHORT_OUTPUT = 64 << 10
MAX_SHORT = 4_000
"""What Monty gets: code of so many characters, for so long, with so much memory and output."""

# The last line's value is shown, as at a prompt.
_RUNNER = """\
import ast, sys
source = sys.argv.pop(1)
tree = ast.parse(source, "<code>")
last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
names = {"__name__": "__main__"}
import linecache
linecache.cache["<code>"] = (len(source), None, source.splitlines(True), "<code>")
try:
    exec(compile(tree, "<code>", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names)
        if value is not None:
            print(value if isinstance(value, str) else repr(value))
except Exception as error:
    import traceback
    error.__traceback__ = error.__traceback__.tb_next
    traceback.print_exception(error)
    sys.exit(1)
"""


def code_tools(*, unsafe: bool = False) -> tuple[Tool[..., Any], Tool[..., Any]]:
    """`python` and `shell`.

    Args:
        unsafe: Where this machine has no way to confine code, run it with all the user's rights. For a person to say.
    """

    @tool(
        effect="writes",
        steers=("code",),
        returns="files",
        confined=None if unsafe else "workspace",
        seconds=SECONDS + 10,
        parallel=4,
        examples=(
            ("which primes are below 30?", {"code": "[n for n in range(2, 30) if all(n % d for d in range(2, n))]"}),
            ("how many words has notes.txt?", {"code": "len(open('notes.txt').read().split())"}),
        ),
    )
    async def python(
        access: Access,
        code: Annotated[str, "Python; the value of the last line is shown", MinLen(1), MaxLen(8_000)],
    ) -> Output:
        """Run Python code: programs, loops, sorting, statistics, working with data and text."""
        if len(code) <= MAX_SHORT:
            quick = await in_thread(lambda: run_short(code), name="monty")
            if quick is not None:
                return Output(quick)
        argv = [sys.executable, "-I", "-X", "utf8", "-c", _RUNNER, code]
        return report(await _confined(argv, access, unsafe=unsafe), SECONDS)

    @python.shows
    def show_python(code: str) -> str:  # pyright: ignore[reportUnusedFunction]
        return f"run Python in the workspace, {_how(unsafe)}:\n{code}"

    @tool(
        effect="writes",
        steers=("command",),
        returns="files",
        confined=None if unsafe else "workspace",
        seconds=SECONDS + 10,
        parallel=4,
        examples=(
            ("count the lines of all csv files", {"command": "wc -l *.csv"}),
            ("run make test", {"command": "make test"}),
        ),
    )
    async def shell(access: Access, command: Annotated[str, "the command line", MinLen(1), MaxLen(2_000)]) -> Output:
        """Run a shell command in the workspace, such as wc, sort, git, make."""
        return report(await _confined(["/bin/sh", "-c", command], access, unsafe=unsafe), SECONDS)

    @shell.shows
    def show_shell(command: str) -> str:  # pyright: ignore[reportUnusedFunction]
        return f"run in the workspace, {_how(unsafe)}:\n$ {command}"

    return python, shell


def _how(unsafe: bool) -> str:
    return "perhaps unconfined, with all your rights" if unsafe else "without network"


async def _confined(argv: list[str], access: Access, *, unsafe: bool) -> Completed:
    from llmos.tools.sandbox import Sandbox

    sandbox = await in_thread(lambda: Sandbox.best(unsafe=unsafe), name="sandbox")
    return await sandbox.run(
        argv,
        workspace=access.workspace,
        seconds=SECONDS,
        output_bytes=MAX_OUTPUT,
        memory_bytes=MEMORY,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )


def report(done: Completed, seconds: float) -> Output:
    """What a program printed, and how it ended if not well."""
    parts = [text for stream in (done.stdout, done.stderr) if (text := stream.decode("utf-8", "replace").rstrip("\n"))]
    if done.truncated:
        parts.append(f"(printed {done.truncated:,} bytes more, which were dropped)")
    if done.timed_out:
        parts.append(f"(stopped after {seconds:g} s)")
    elif done.limit in ("memory", "output", "processes"):
        parts.append(f"(stopped: it reached its limit of {done.limit})")
    elif done.returncode < 0:
        parts.append(f"(killed by signal {-done.returncode})")
    elif done.returncode:
        parts.append(f"(exit code {done.returncode})")
    return Output("\n".join(parts) or "(no output)", failed=done.timed_out or done.returncode != 0)


def run_short(code: str) -> str | None:
    """What code prints and its last value in Monty; None if it can't run there, for whatever reason.

    Monty's code has no effects: running it again in full Python is the first time that anything happens.
    """
    from pydantic_monty import CollectString, MontyError

    shown = _showing(code)
    if shown is None:
        return None
    printed = CollectString(SHORT_OUTPUT)
    try:
        with _pool().checkout(
            limits={"max_feed_duration_secs": SHORT_SECONDS, "max_memory": SHORT_MEMORY, "max_suspensions": 1},
            os_policy={"sleep": "call_host", "timezone": getattr(zone_of(""), "key", "utc")},
        ) as session:
            session.feed_run(shown, print_callback=printed)
    except (MontyError, TimeoutError, ValueError, OSError):
        return None
    return printed.output.rstrip("\n") or "(no output)"


def _showing(code: str) -> str | None:
    """Code that prints the value of its last line, as at a prompt; None if it is no Python.

    The value itself must not leave Monty, where its type may not exist outside.
    """
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not body or not isinstance(body[-1], ast.Expr):
        return code
    last = body[-1]
    lines = code.encode().splitlines(keepends=True)
    before = b"".join(lines[: last.lineno - 1]) + lines[last.lineno - 1][: last.col_offset]
    value = ast.get_source_segment(code, last)
    show = "if _ is not None:\n    print(_ if isinstance(_, str) else repr(_))\n"
    return f"{before.decode()}_ = (\n{value}\n)\n{show}"


_pools: list[Monty] = []
_lock = threading.Lock()


def _pool() -> Monty:
    """The processes that Monty runs in, started with the first call and kept."""
    from pydantic_monty import Monty

    with _lock:
        if not _pools:
            pool = Monty(max_processes=2, checkout_timeout=5, request_timeout=5)
            _pools.append(pool.__enter__())
            atexit.register(pool.__exit__, None, None, None)
        return _pools[0]


python, shell = code_tools()
