"""Filters and queries as SQL. Knows no connection."""

from __future__ import annotations

import json
from collections.abc import Sequence

from llmos.memory.items import KINDS, Filter
from llmos.memory.store.schema import mark, stored, terms

MOST_TERMS = 64  # of a query: beyond that a text is compared, not asked for


def where(filter: Filter) -> tuple[str, list[str | bytes | float]]:
    """A condition on `items`, and its values."""
    parts, values = ["items.tenant = ?"], list[str | bytes | float]([stored(filter.tenant)])
    chosen = (("namespace", filter.namespaces), ("label", filter.labels), ("source", filter.sources))
    for column, wanted in chosen:
        if wanted is not None:
            parts.append(f"items.{column} {_among(wanted, values)}")
    kinds = filter.kinds
    if kinds is None and (filter.since is not None or filter.until is not None):
        kinds = KINDS  # all of them: there is an index by kind and time
    if kinds is not None:
        parts.append(f"items.kind {_among(kinds, values)}")
    for sign, bound in ((">=", filter.since), ("<", filter.until)):
        if bound is not None:
            parts.append(f"items.created {sign} ?")
            values.append(bound)
    if filter.current is not None:
        parts.append(f"items.superseded_by IS {'' if filter.current else 'NOT '}NULL")
    return " AND ".join(parts), values


def table(filter: Filter, *, otherwise: str) -> str:
    """`items` by the index that narrows a filter most: SQLite knows no numbers of rows to choose by.

    Args:
        otherwise: The index where neither sources nor kinds are chosen: `items_by_tenant` is in the order of ids,
            `items_by_kind` tells without reading rows what is superseded.
    """
    kinds = filter.kinds is not None or filter.since is not None or filter.until is not None
    best = "items_by_source" if filter.sources is not None else "items_by_kind" if kinds else otherwise
    return f"items INDEXED BY {best}"


def _among(wanted: Sequence[str], values: list[str | bytes | float]) -> str:
    found = [stored(name) for name in wanted]
    texts = [name for name in found if isinstance(name, str)]
    others = [name for name in found if not isinstance(name, str)]
    values.append(json.dumps(texts))
    values.extend(others)
    return f"IN (SELECT value FROM json_each(?){' UNION ALL VALUES (?)' * len(others)})"


def scoped(filter: Filter, *, among_tenants: bool) -> str:
    """What an expression of FTS5 asks of an item's scope; empty if nothing."""
    parts = [mark("t", filter.tenant)] if among_tenants else []
    for letter, names in (("n", filter.namespaces), ("s", filter.sources)):
        if names:
            parts.append(_either([mark(letter, name) for name in names]))
    if filter.kinds:
        parts.append(_either([f"k{kind}" for kind in filter.kinds]))
    return f"scope : ({' AND '.join(parts)})" if parts else ""


def _either(parts: Sequence[str]) -> str:
    return f"({' OR '.join(parts)})"


def phrases(query: str) -> list[str]:
    """The words of a query, as many as are asked for: the longest ones say most."""
    found = terms(query)
    if len(found) <= MOST_TERMS:
        return found
    longest = set(sorted(found, key=len, reverse=True)[:MOST_TERMS])
    return [term for term in found if term in longest]


def expression(words: Sequence[str], filter: Filter, *, among_tenants: bool) -> str:
    """An expression of FTS5: any of some words, in what the filter may choose.

    Args:
        among_tenants: There are others than the filter's.
    """
    scope = scoped(filter, among_tenants=among_tenants)
    return f"text : {_either(words)}{' AND ' if scope else ''}{scope}"
