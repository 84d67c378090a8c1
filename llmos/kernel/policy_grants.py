"""Whether a standing permission covers a call: its tools, its targets, its time and its count.

Targets are compared in canonical form and in parts (a host by itself, a path by itself), so that a pattern can't be
stretched by `..`, case, credentials in a URL, other alphabets or a second command behind a semicolon. Knows no words
of the user: a grant is an authority of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatchcase

from llmos.kernel.calls import Grant, ProposedCall, Situation
from llmos.kernel.policy_values import hidden, is_email, is_url, leaves, name_tokens, path, url, word_set

_COMMANDS = word_set("command cmd shell script code argv program")
_PATHS = word_set("path file filename folder directory dir")
_SHELL = re.compile(r"[;&|`$<>(){}\n\\!*?\[\]~#]")
_WILD = re.compile(r"[*?\[]")


def covering(call: ProposedCall, situation: Situation, *, targeted: bool = False) -> Grant | None:
    """The first grant in force that covers a call.

    Args:
        call: The call.
        situation: The grants, and the time.
        targeted: Only a grant that names every steering argument: the answer to a question, not a blanket one.
    """
    for grant in situation.grants:
        if targeted and (grant.workspace or grant.origins or not call.traits.steers <= set(grant.targets)):
            continue
        if covers(grant, call, situation.now):
            return grant
    return None


def covers(grant: Grant, call: ProposedCall, now: float) -> bool:
    """Whether a grant covers a call at a time."""
    if grant.expires is not None and now >= grant.expires:
        return False
    if grant.calls is not None and grant.calls <= 0:
        return False
    if not any(fnmatchcase(call.tool, pattern) for pattern in grant.tools):
        return False
    if grant.workspace or grant.origins:  # confinement is what such a grant is about
        confined = call.traits.confined
        if not ((confined == "workspace" and grant.workspace) or (confined == "origin" and grant.origins)):
            return False
        if confined == "origin" and not _inside(call, grant.origins):
            return False
    return _targets_match(grant.targets, call)


def _targets_match(targets: Mapping[str, tuple[str, ...]], call: ProposedCall) -> bool:
    for argument, patterns in targets.items():
        values = list(leaves(call.arguments.get(argument)))
        if not values:  # what a left-out argument will be is unknown
            return False
        if not all(any(matches(argument, str(value), pattern) for pattern in patterns) for value in values):
            return False
    return True


def _inside(call: ProposedCall, origins: tuple[str, ...]) -> bool:
    """Whether every URL among the arguments is on an allowed page."""
    allowed = [url(origin) for origin in origins]
    for value in leaves(dict(call.arguments)):
        if isinstance(value, str) and is_url(value):
            target = url(value)
            if target is None or not any(a and (a.scheme, a.host) == (target.scheme, target.host) for a in allowed):
                return False
    return True


def matches(argument: str, value: str, pattern: str) -> bool:
    """Whether a value of an argument matches a pattern of a grant.

    Args:
        argument: Its name, which says whether the value is a command or a path.
        value: As the tool would get it.
        pattern: `fnmatch`; for URLs and paths part by part.
    """
    if hidden(value):
        return False
    if value == pattern and not _WILD.search(pattern):
        return True
    names = name_tokens(argument)
    if names & _COMMANDS:
        return not _SHELL.search(value) and fnmatchcase(value, pattern)
    if is_url(pattern) or is_url(value):
        return _url_matches(value, pattern)
    if "@" in pattern:
        return is_email(value) and fnmatchcase(value.lower(), pattern.lower())
    if "/" in pattern or "/" in value or names & _PATHS:
        return _path_matches(value, pattern)
    return "\n" not in value and fnmatchcase(unicodedata.normalize("NFC", value), unicodedata.normalize("NFC", pattern))


def _path_matches(value: str, pattern: str) -> bool:
    resolved = path(value)
    if resolved is None:
        return False
    wanted = unicodedata.normalize("NFC", pattern)
    wanted = wanted[2:] if wanted.startswith("./") else wanted
    return resolved.startswith("/") == wanted.startswith("/") and fnmatchcase(resolved, wanted)


def _url_matches(value: str, pattern: str) -> bool:
    target = url(value)
    if target is None or not value.isascii():
        return False
    scheme, separator, rest = pattern.partition("://")
    if not separator:
        scheme, rest = "", pattern
    host, slash, tail = rest.partition("/")
    if (scheme and scheme != "*" and scheme.lower() != target.scheme) or not fnmatchcase(target.host, host.lower()):
        return False
    if not slash:  # a host alone: every page of it
        return True
    wanted_path, question, wanted_query = f"/{tail}".partition("?")
    if question:
        return target.path == wanted_path and fnmatchcase(target.query, wanted_query)
    return fnmatchcase(target.path, wanted_path) and (not target.query or wanted_path.endswith("*"))
