"""A verifier of what was done on web pages: the state in which the last page was left, as the operator reports it.

Knows no browser: it looks at the operator's report, not at the page anew, which may be closed by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.verifiers.common import brief, data_of, several
from llmos.errors import BadArguments

MOST_SAID = 4_000
"""From so many characters on the report may not have all that the page says."""


def page_shows(
    *,
    url: str = "",
    texts: Sequence[str] = (),
    lacks: Sequence[str] = (),
    fields: Mapping[str, str] | None = None,
) -> Verifier[Any]:
    """The page on which the operator ended is this one, says this, and its fields hold this.

    Upper case and white space do not count. It can't tell where the value is no report of the operator, or the page
    says more than the report has.

    Args:
        url: The page's address with scheme: itself, or what lies below it; or a part of the address after its host,
            such as `/thanks`.
        texts: All of these stand on the page.
        lacks: None of these does.
        fields: What fields hold, by their names; `chosen` for a box or radio button.

    Raises:
        BadArguments: There is nothing to check.
    """
    wanted = dict(fields or {})
    if not (url.strip() or texts or lacks or wanted):
        raise BadArguments("There is nothing to check of the page.", hint="Give its url, texts, lacks or fields.")

    def check(value: object) -> Verdict:
        page = _page(value)
        if page is None:
            return Verdict("unsure", ("It says of no web page how it was left.",))
        said = str(page.get("says") or "")
        wrong = _not_there(str(page["url"]), url)
        wrong += _not_held(page.get("fields"), wanted)
        cut = len(said) >= MOST_SAID
        seen = _plain(f"{page.get('title') or ''}\n{said}")
        missing = [f"The page does not say {one!r}." for one in texts if _plain(one) not in seen]
        wrong += [f"The page says {one!r}." for one in lacks if _plain(one) in seen]
        if wrong or (missing and not cut):
            return Verdict("fail", several([*wrong, *missing]))
        if missing or (lacks and cut):
            return Verdict("unsure", ("The page says more than the report has.",))
        return Verdict("pass")

    return Verifier(check, name="page_shows")


def _page(value: object) -> Mapping[str, Any] | None:
    """How the operator left the page: a report's value, a report as JSON data, or that value itself."""
    try:
        data = data_of(value)
    except ValueError:
        return None
    for _ in range(2):
        if not isinstance(data, Mapping):
            return None
        known = cast("Mapping[str, Any]", data)
        if "url" in known and "says" in known:
            return known
        data = known.get("value")
    return None


def _not_there(url: str, wanted: str) -> list[str]:
    """Why a page is not the wanted one; nothing if it is."""
    wanted = wanted.strip()
    if "://" in wanted:
        bare = wanted.rstrip("/")
        there = url in (wanted, bare) or (url.startswith(bare) and url[len(bare)] in "/?#")
    else:
        rest = url.partition("://")[2]
        there = wanted in rest[len(rest.partition("/")[0]) :]
    return [] if there else [f"The page is {brief(url, 100)!r}, and not {brief(wanted, 100)!r}."]


def _not_held(held: object, wanted: Mapping[str, str]) -> list[str]:
    """What fields hold in place of what they should."""
    known: Mapping[str, object] = cast("Mapping[str, object]", held) if isinstance(held, Mapping) else {}
    there = {_plain(name): str(value) for name, value in known.items()}
    return [
        f"The field {name!r} holds {brief(now, 60)!r}, and not {brief(value, 60)!r}."
        if (now := there.get(_plain(name))) is not None
        else f"No field {name!r} holds anything."
        for name, value in wanted.items()
        if _plain(there.get(_plain(name), "")) != _plain(value) or _plain(name) not in there
    ]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
