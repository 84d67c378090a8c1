"""Command line of the benchmarks: `python -m bench engine --json engine.json`."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.report import Row, Skipped, show, write_json

NAMES = (
    "agents",
    "browser",
    "calibration",
    "coding",
    "engine",
    "kernel",
    "memory",
    "microcode",
    "policy",
    "reasoning",
    "tasks",
    "routing",
)


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark; 1 if a goal is missed and `--strict` is given."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    parser.add_argument("--only", default="", metavar="WORD", help="only rows whose group has this word in its name")
    parser.add_argument("--limit", type=int, metavar="N", help="only so many questions of each kind (reasoning)")
    parser.add_argument("--method", metavar="WORD", help="only methods with this in their name (reasoning)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal is missed")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    skipped: dict[str, None] = {}  # each reason once, in order
    module = importlib.import_module(f"bench.{options.name}")
    for name, value in (("LIMIT", options.limit), ("METHOD", options.method)):
        if value is not None:
            if not hasattr(module, name):
                parser.error(f"{options.name} has no --{name.lower()}")
            setattr(module, name, value)
    for group in module.GROUPS:
        if options.only in group.__name__:
            print(f"measuring {group.__name__.replace('_', ' ')} …", file=sys.stderr, flush=True)
            # a thread of its own: the OpenMP threads that one leaves behind count as busy for all that come after it
            with ThreadPoolExecutor(1) as alone:
                try:
                    rows.extend(alone.submit(group).result())
                except Skipped as reason:
                    skipped[str(reason)] = None
    show(options.name, rows, list(skipped))
    if options.json:
        write_json(options.json, options.name, rows, list(skipped))
    return int(options.strict and any(row.met is False for row in rows))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is ended, too
    sys.exit(main())
