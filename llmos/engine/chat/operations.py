"""What a chat template may do with values: its filters, tests, methods and operators, each paid for from the budget.

A list of what is allowed, not of what is forbidden: among Jinja's own filters and Python's own methods are some that
turn ten characters into ten gigabytes. Knows values, not templates.
"""

from __future__ import annotations

import datetime
import functools
import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from jinja2.filters import FILTERS
from jinja2.tests import TESTS
from jinja2.utils import Namespace

from llmos.engine.chat.budget import Exceeded, current

_FILTERS = cast("Mapping[str, Callable[..., Any]]", FILTERS)
_TESTS = cast("Mapping[str, Callable[..., bool]]", TESTS)

_MAX_WIDTH = 256
_MAX_INDENT = 16

_LINEAR = "casefold capitalize count endswith find index lower partition removeprefix removesuffix split splitlines"
_SEARCHING = "lstrip rfind rindex rpartition rsplit rstrip strip"  # length of the text times length of the argument
_ASKING = "isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace istitle isupper startswith"
_WIDENING = "center ljust rjust zfill"
TEXT_METHODS = frozenset(
    f"{_LINEAR} {_SEARCHING} {_ASKING} {_WIDENING} format format_map join replace swapcase title upper".split()
)
METHODS: Mapping[type, frozenset[str]] = {
    str: TEXT_METHODS,
    dict: frozenset({"copy", "get", "items", "keys", "values"}),
    list: frozenset({"copy", "count", "index"}),
    tuple: frozenset({"count", "index"}),
}
"""Everything that a template may call on plain values."""

# These look at the outside of a value only; the rest is charged for all of it.
_SHALLOW = "count d default first float int items last length list map reject rejectattr reverse select selectattr"
_DEEP = (
    "abs capitalize dictsort e escape groupby lower max min safe sort string title trim truncate unique upper urlencode"
)
_SORTING = frozenset({"dictsort", "groupby", "sort", "unique"})
_FREE_TESTS = (
    "boolean callable defined false filter float integer iterable mapping none number sameas sequence string test"
)
_DEEP_TESTS = "== != < <= > >= eq equalto ge greaterthan gt in le lessthan lower lt ne upper"
_PRINTF = re.compile(r"(?:[^%]|%%|%(?:\(\w{1,64}\))?[-+ #0]{0,5}\d{0,2}(?:\.\d{1,2})?[diorsxXfg])*")
_DATE = re.compile(r"(?:[^%]|%-?[a-zA-Z%])*")


def _is(value: object, *kinds: type) -> bool:
    """`isinstance` for values of any type, which stay `Any` for the type checkers."""
    return isinstance(value, kinds)


def whole(value: Any) -> Any:
    """A generator as a list, everything else as it is: what is looked at twice must be countable."""
    return list(current().metered(value)) if _is(value, Iterator) else value


def paid(value: Any) -> Any:
    """A result, paid for by its size; a generator pays while it runs."""
    budget = current()
    if _is(value, str):
        budget.text(len(value))
    elif _is(value, list, dict, tuple):
        budget.weight(value)
    elif _is(value, Iterator):
        return budget.metered(value)
    return value


def plain(value: Any) -> Any:
    """Refuse a namespace inside another value: the two could be made to contain each other."""
    if _is(value, Namespace):
        raise Exceeded("puts a namespace into another value")
    return value


def contained(value: Any) -> Any:
    """A new list, tuple or mapping, paid for."""
    items: list[Any] = [*value.keys(), *value.values()] if _is(value, dict) else list(value)
    for item in items:
        plain(item)
    current().weight(value)
    return value


def weighed(value: Any) -> Any:
    """A value that is going to be compared or printed, paid for in whole."""
    value = whole(plain(value))
    current().weigh(value)
    return value


def sized(value: Any) -> Any:
    """A value that is going to be sliced, paid for by its length."""
    if _is(value, str, list, tuple):
        current().text(len(value))
    elif _is(value, range):
        current().charge(len(value))
    return value


def searched(value: Any) -> Any:
    """A value on the right of `in`."""
    return value if _is(value, Mapping) else weighed(value)


def shown(value: Any) -> Any:
    """A value that is going to be part of the output."""
    return value if value is None else weighed(value)


def strftime_now(form: str) -> str:
    """The local time; templates write the date into the system prompt."""
    if len(form) > _MAX_WIDTH or not _DATE.fullmatch(form):
        raise Exceeded(f"asks for a date in the form {form[:40]!r}")
    return datetime.datetime.now().astimezone().strftime(form)


def call_method(owner: object, method: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Call a method of a plain value after paying for it."""
    name = getattr(method, "__name__", "")
    for argument in (*args, *options.values()):
        current().weigh(argument)
    if isinstance(owner, str):
        return _call_text(owner, name, args, options)
    if name in ("count", "index"):
        weighed(owner)
    return paid(method(*args, **options))


def _call_text(text: str, name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    budget = current()
    budget.text(len(text))
    match name:
        case "replace":
            return replace(text, *args, **options)
        case "join":
            return join(args[0], text)
        case "center" | "ljust" | "rjust" | "zfill":
            _width(args[0])
        case _ if name in _SEARCHING.split():
            budget.charge(len(text) * max((len(each) for each in args if isinstance(each, str)), default=1) // 64)
        case _:
            pass
    return paid(getattr(text, name)(*args, **options))


def _width(width: object) -> None:
    if isinstance(width, int) and width > _MAX_WIDTH:
        raise Exceeded(f"pads a text to {width:,} characters")


def binary(sign: str, left: Any, right: Any, compute: Callable[[Any, Any], Any]) -> Any:
    """Compute `left sign right` after paying for it."""
    budget = current()
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(right, 1) if sign == "**" else left.bit_length() + right.bit_length()
        budget.number(bits)
        return compute(left, right)
    sized(left)
    sized(right)
    if sign == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(times, int):
                budget.charge(budget.weight(value) * max(times, 1))
    elif sign == "%" and isinstance(left, str):
        _check_printf(left, right)
    return paid(compute(left, right))


def _check_printf(form: str, values: object) -> None:
    if not _PRINTF.fullmatch(form):
        raise Exceeded(f"formats with {form[:40]!r}")
    current().charge((form.count("%") + 1) * current().weight(plain(values)))


def replace(text: Any, old: Any, new: Any, count: int | None = -1) -> str:
    """`str.replace`, whose result is paid for first."""
    text, old, new, times = str(shown(text)), str(shown(old)), str(shown(new)), -1 if count is None else count
    found = text.count(old)
    current().text(len(text) + len(new) * (found if times < 0 else min(found, times)))
    return str(text.replace(old, new, times))


def join(items: Any, separator: Any = "", attribute: str | None = None) -> str:
    """The items' texts with a separator between them, paid for first."""
    values = list(cast("list[Any]", whole(items)))
    if attribute is not None:
        values = [value[attribute] for value in values]
    texts = [str(shown(value)) for value in values]
    glue = str(shown(separator))
    current().text(sum(map(len, texts)) + len(glue) * len(texts))
    return glue.join(texts)


def indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Indent the lines of a text."""
    text = str(shown(text))
    step = len(width) if isinstance(width, str) else width
    _width(step)
    current().text(text.count("\n") * step)
    return str(_FILTERS["indent"](text, width, first, blank))


def add_up(values: Any, attribute: str | None = None, start: float = 0) -> float:
    """The sum of numbers."""
    total = start
    for value in cast("list[Any]", whole(values)):
        current().charge(1)
        total += _number(value[attribute] if attribute is not None else value)
    return total


def round_(value: Any, precision: int = 0, method: str = "common") -> float:
    """Round a number to at most 20 decimals."""
    if not -20 <= precision <= 20:
        raise Exceeded(f"rounds to {precision:,} decimals")
    return float(_FILTERS["round"](_number(value), precision, method))


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as `transformers` writes it for templates: not escaped for HTML, keys in their own order."""
    value = weighed(value)
    if (indent or 0) > _MAX_INDENT or any(len(each) > _MAX_INDENT for each in separators or ()):
        raise Exceeded("writes JSON with endless gaps")
    writer = json.JSONEncoder(
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
    if indent is None:
        return str(paid(writer.encode(value)))
    return "".join(paid(part) for part in writer.iterencode(value))


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} is not a number")
    return value


def _divides(value: Any, by: Any) -> bool:
    return bool(_number(value) % _number(by) == 0)


def _filter(function: Callable[..., Any], *, deep: bool, sorts: bool) -> Callable[..., Any]:
    @functools.wraps(function)  # takes along which of its context Jinja has to pass
    def metered(*args: Any, **options: Any) -> Any:
        budget = current()
        budget.charge(2)
        if deep:
            args = tuple(weighed(value) for value in args)
            budget.charge(16 * sum(budget.weight(value) for value in args) if sorts else 0)
            for value in options.values():
                weighed(value)
            if len(args) > 1 and isinstance(args[0], str) and isinstance(args[1], str):
                budget.charge(len(args[0]) * len(args[1]) // 64)
        else:
            for value in args:
                plain(sized(value))
        return paid(function(*args, **options))

    return metered


def _test(function: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(function)
    def metered(*args: Any) -> bool:
        return function(*(weighed(value) for value in args))

    return metered


def _printf(form: Any, *args: Any, **options: Any) -> Any:
    return binary("%", str(form), options or args, operator.mod)


def _even(value: Any) -> bool:
    return _divides(value, 2)


def _odd(value: Any) -> bool:
    return not _divides(value, 2)


def filters() -> dict[str, Callable[..., Any]]:
    """The filters that templates may use."""
    known = {name: _filter(_FILTERS[name], deep=False, sorts=False) for name in _SHALLOW.split()}
    known |= {name: _filter(_FILTERS[name], deep=True, sorts=name in _SORTING) for name in _DEEP.split()}
    known |= {"indent": indent, "join": join, "replace": replace, "round": round_, "sum": add_up, "tojson": to_json}
    known["format"] = _printf
    return known


def tests() -> dict[str, Callable[..., bool]]:
    """The tests that templates may use after `is`."""
    known: dict[str, Callable[..., bool]] = {name: _TESTS[name] for name in _FREE_TESTS.split()}
    known |= {name: _test(_TESTS[name]) for name in _DEEP_TESTS.split()}
    known |= {"divisibleby": _divides, "odd": _odd, "even": _even}
    known["undefined"] = _TESTS["undefined"]
    return known
