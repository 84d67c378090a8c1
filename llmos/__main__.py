"""`llmos` and `python -m llmos`: the way in."""

from __future__ import annotations

import sys

from llmos.shell.start import main

if __name__ == "__main__":
    sys.exit(main())
