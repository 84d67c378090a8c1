"""`compute`: Python that looks at the workspace and changes nothing, so that nobody needs to be asked.

It runs in the sandbox in an empty folder that is gone afterwards; the workspace can be read there. Where nothing can
confine code it doesn't run, `--unsafe` or not: unconfined it could change things.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le, MaxLen, MinLen

from llmos.kernel.protocols import Access
from llmos.tools.output import Output
from llmos.tools.threads import in_thread
from llmos.tools.tool import tool

SECONDS = 30
MEMORY = 1 << 30
MAX_OUTPUT = 256 << 10

# The program is found by tracebacks, and starts where the user's files are.
_RUNNER = """\
import linecache, os, sys
source = sys.stdin.read()
os.chdir(sys.argv.pop(1))
linecache.cache["<code>"] = (len(source), None, source.splitlines(True), "<code>")
try:
    exec(compile(source, "<code>", "exec"), {"__name__": "__main__"})
except Exception as error:
    import traceback
    error.__traceback__ = error.__traceback__.tb_next
    traceback.print_exception(error)
    sys.exit(1)
"""


@tool(
    effect="reads",
    returns="files",
    seconds=SECONDS + 10,
    output_bytes=MAX_OUTPUT,
    parallel=4,
    examples=(
        ("compute the sum of the amount column", {"code": "print(sum(map(float, open('amounts.txt'))))"}),
        ("try the function on a list", {"code": "print(sorted([3, 1, 2]))", "seconds": 5}),
    ),
)
async def compute(
    access: Access,
    code: Annotated[str, "Python; what it prints is the result", MinLen(1), MaxLen(60_000)],
    seconds: Annotated[int, "it is ended after so long", Ge(1), Le(SECONDS)] = SECONDS,
) -> Output:
    """Run a Python program that may read the files here but can change nothing."""
    from llmos.tools.builtin.code import report
    from llmos.tools.sandbox import Sandbox

    sandbox = await in_thread(lambda: Sandbox.best(), name="sandbox")
    with tempfile.TemporaryDirectory(prefix="llmos-", ignore_cleanup_errors=True) as folder:
        done = await sandbox.run(
            [sys.executable, "-I", "-X", "utf8", "-c", _RUNNER, str(access.workspace)],
            workspace=Path(folder),
            readable=[access.workspace],
            stdin=code.encode(),
            seconds=seconds,
            output_bytes=MAX_OUTPUT,
            memory_bytes=MEMORY,
            env={"PYTHONDONTWRITEBYTECODE": "1"},
        )
    return report(done, seconds)


@compute.shows
def show_compute(code: str) -> str:
    """The program."""
    return f"run Python that can read this folder and change nothing:\n{code}"
