"""Puts a finished file in the place of another, so that a power cut leaves one or the other. Knows no kind of file."""

from __future__ import annotations

import os
from pathlib import Path


def replace(fresh: Path, path: Path) -> None:
    """Give a file that was written and synced the name of another one of its folder, and sync the folder."""
    os.replace(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
