"""Makes memory-map.png: the map of this documentation, as `llmos memory map` draws it, with a palette.

.venv/bin/python docs/images/make_map_png.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

QUERY = "what happens when a run is killed?"
COLOURS = 256
ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path(__file__).with_name("memory-map.png")


def llmos(home: str, *arguments: str) -> None:
    """Run the program on a home of its own; documents that can't be read, such as pictures, are left out."""
    command = [sys.executable, "-m", "llmos", "memory", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "LLMOS_HOME": home}, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)


def main() -> None:
    """Draw it."""
    with tempfile.TemporaryDirectory() as home:
        llmos(home, "add", "docs", "README.md")
        page = Path(home) / "map.html"
        llmos(home, "map", str(page), "--query", QUERY)
        with Image.open(page.with_suffix(".png")) as drawn:
            drawn.convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
