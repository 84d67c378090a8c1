"""Which files may be uploaded: those that are listed, and those in folders that are. Links are followed first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmos.tools.browser import failures


def uploads(text: str, listed: Sequence[Path]) -> list[Path]:
    """The files that a text names.

    Args:
        text: Their paths, a line each.
        listed: Files and folders.

    Raises:
        BrowserError: `unfit`: one may not be uploaded, or is not there.
    """
    allowed = [path.resolve() for path in listed]
    found: list[Path] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        path = Path(line).expanduser().resolve()
        if not any(path == one or one in path.parents for one in allowed):
            names = ", ".join(repr(str(one)) for one in allowed) or "none"
            raise failures.unfit(f"{line!r} may not be uploaded.", hint=f"What may be: {names}.")
        if not path.is_file():
            raise failures.unfit(f"There is no file {line!r}.")
        found.append(path)
    if not found:
        raise failures.unfit("No file was named.", hint="Give the path of a file that may be uploaded.")
    return found
