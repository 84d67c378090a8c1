"""Makes repl.svg: a real chat with the embedded model in tmux, its screen taken with colours.

.venv/bin/python docs/images/make_repl_svg.py
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 100, 38
SAY = (
    "Our lease ends on 31 March 2027. The rent is 900 euros a month. When does the lease end?",
    "How much is the rent?",
    "Now list three benefits of walking, in one short line each.",
    "/stats",
)
WAIT_SECONDS = 60.0
SOCKET = f"llmos-picture-{os.getpid()}"


def tmux(*arguments: str) -> str:
    """Run one tmux command on a server of our own."""
    command = ["tmux", "-L", SOCKET, "-f", os.devnull, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def screen(*options: str) -> str:
    """What is on the screen now."""
    return tmux("capture-pane", "-p", "-t", "chat", *options)


def settled(text: str) -> None:
    """Wait until a text is on the screen and the prompt takes keys again."""
    end, before = time.monotonic() + WAIT_SECONDS, ""
    while time.monotonic() < end:
        time.sleep(1.0)
        now = screen()
        if text in now and now == before and "of 8,192 tokens" in now.rstrip().rpartition("\n")[2]:
            return
        before = now
    raise SystemExit(f"{text!r} did not come; the screen shows:\n{before}")


def main() -> None:
    """Hold the conversation and write the picture beside this file."""
    with tempfile.TemporaryDirectory() as home:
        values = {"LLMOS_HOME": home, "LLMOS_TEMPERATURE": "0", "COLORTERM": "truecolor"}
        program = shlex.join(
            ["env", *(f"{name}={value}" for name, value in values.items()), sys.executable, "-m", "llmos"]
        )
        tmux("new-session", "-d", "-s", "chat", "-x", str(COLUMNS), "-y", str(ROWS), program)
        try:
            settled("suits this machine")
            for words in SAY:
                tmux("send-keys", "-t", "chat", "-l", words)
                tmux("send-keys", "-t", "chat", "Enter")
                settled("confidence  " if words == "/stats" else words)
            colours = screen("-e")
        finally:
            tmux("kill-server")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(colours.rstrip("\n")))
    # without rich's fonts, which a browser would fetch from outside
    picture = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="llmos"), flags=re.DOTALL)
    Path(__file__).with_name("repl.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
