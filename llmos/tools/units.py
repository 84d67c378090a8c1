"""Units of measure for the calculator: pint with exact fractions, behind four functions.

pint takes half a second to load and is loaded when the first unit is met. Unit names are looked up, never evaluated.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from typing import Any, cast

_TEMPERATURES = {"c": "degC", "f": "degF", "k": "kelvin"}
_NAMES = {
    "mph": "mile/hour",
    "kph": "kilometer/hour",
    "kmh": "kilometer/hour",
    "kmph": "kilometer/hour",
    "fahrenheit": "degF",
    "celsius": "degC",
    "centigrade": "degC",
    "lbs": "pound",
    "sec": "second",
    "secs": "second",
    "min": "minute",
    "mins": "minute",
    "hr": "hour",
    "hrs": "hour",
    "kb": "kilobyte",
    "mb": "megabyte",
    "gb": "gigabyte",
    "tb": "terabyte",
}

Unit = Any
"""A pint unit; pint's own types are not strict."""


@cache
def _registry() -> Any:  # noqa: ANN401 - see Unit
    import pint

    return cast("Any", pint).UnitRegistry(non_int_type=Fraction, cache_folder=None)


@cache
def unit(name: str) -> Unit | None:
    """The unit of a name such as `km`, `miles` or `degF`; None if there is none."""
    if not re.fullmatch(r"[A-Za-zµμΩ]{1,30}", name):
        return None
    registry = _registry()
    for spelled in (_NAMES.get(name.lower()), name, name.lower()):
        if spelled:
            try:
                return registry.parse_units(spelled)
            except (AttributeError, ValueError, TypeError):
                continue
    return None


def temperature(name: str) -> Unit | None:
    """The temperature scale of a letter, which is another unit elsewhere: C, F, K."""
    spelled = _TEMPERATURES.get(name.lower())
    return _registry().parse_units(spelled) if spelled else None


def convert(number: Fraction, source: Unit, target: Unit) -> Fraction:
    """A number of one unit in another.

    Raises:
        ValueError: They don't measure the same thing.
    """
    registry = _registry()
    try:
        converted = registry.Quantity(number, source).to(target).magnitude
    except Exception as error:
        # pint's errors have no common base besides it
        raise ValueError(
            f"{label(source) or 'a number'} can't be converted to {label(target) or 'a number'}"
        ) from error
    return Fraction(converted)


def label(unit: Unit, *, one: bool = False) -> str:
    """A unit as people write it: `km/h`, `m²`."""
    above: list[str] = []
    below: list[str] = []
    parts: dict[str, Any] = dict(unit._units)
    for name, exponent in parts.items():
        power = abs(Fraction(exponent))
        mark = {1: "", 2: "²", 3: "³"}.get(power.numerator if power.denominator == 1 else 0, f"^{power}")
        spelled = {"degree_Celsius": "°C", "degree_Fahrenheit": "°F"}.get(name, name.replace("_", " "))
        plural = not one and not mark and exponent > 0 and spelled[-1].isalpha() and len(spelled) > 3
        (above if exponent > 0 else below).append(_plural(spelled) if plural else spelled + mark)
    text = " ".join(above[:-1] + above[-1:]) or ("1" if below else "")
    return text + "".join(f"/{name}" for name in below)


def _plural(name: str) -> str:
    irregular = {"foot": "feet", "inch": "inches", "kelvin": "kelvin", "hertz": "hertz", "century": "centuries"}
    return irregular.get(name, name if name.endswith("s") else f"{name}s")
