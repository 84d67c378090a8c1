"""Verifiers: what says pass, fail or can't tell of a piece of work, with reasons. They compose with `&` and `|`.

Those that need a process or a branch get it when they are made, and act by its system calls alone.
"""

from llmos.agents.verifiers.agreement import consistent
from llmos.agents.verifiers.figures import recomputed
from llmos.agents.verifiers.judging import judge
from llmos.agents.verifiers.pages import page_shows
from llmos.agents.verifiers.people import human
from llmos.agents.verifiers.plain import predicate, schema
from llmos.agents.verifiers.quotes import quotes_found
from llmos.agents.verifiers.registry import check_arguments, described, named, names, within
from llmos.agents.verifiers.unit_tests import tests_pass

__all__ = [
    "check_arguments",
    "consistent",
    "described",
    "human",
    "judge",
    "named",
    "names",
    "page_shows",
    "predicate",
    "quotes_found",
    "recomputed",
    "schema",
    "tests_pass",
    "within",
]
