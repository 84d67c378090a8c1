"""From what a tool's function returns to a `Result`: text for the model under a limit, JSON data for programs.

Knows no tool.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from llmos.kernel.calls import Label, Result
from llmos.kernel.protocols import Access
from llmos.tools.threads import in_thread

MAX_ERROR = 600
"""Characters of a foreign error message that are passed on."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a tool may return where the text for the model is not simply its value, or its label differs this time.

    Attributes:
        text: For the model.
        value: The same as JSON data, pydantic models or dataclasses; None where there is only text.
        label: Where it comes from; None for what the tool declares.
        failed: The call did not do what was asked.
        origin: See `Result.origin`.
    """

    text: str
    value: Any = None
    label: Label | None = None
    failed: bool = False
    origin: str = ""


def as_output(returned: object) -> Output:
    """Any return value of a tool: strings as they are, other data as compact JSON.

    Raises:
        ValueError: It can't be written as JSON.
    """
    match returned:
        case Output(text, value):
            plain = None if value is None else _plain(value)
            return Output(clean(text), plain, returned.label, returned.failed, returned.origin)
        case str():
            return Output(clean(returned))
        case bytes() | bytearray():
            return Output(clean(bytes(returned).decode("utf-8", "replace")))
        case None:
            return Output("Done.")
        case _:
            import pydantic_core

            value = _plain(returned)
            return Output(pydantic_core.to_json(value).decode(), value)


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON data
    import pydantic_core

    return pydantic_core.to_jsonable_python(value, by_alias=True, inf_nan_mode="strings", bytes_mode="base64")


def clean(text: str) -> str:
    """A text that can be written as UTF-8: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


async def as_result(returned: object, *, tool: str, label: Label, limit: int, access: Access) -> Result:
    """A tool's return value as the kernel wants it, the text cut to `limit` bytes and then kept whole in a file.

    Raises:
        ValueError: It can't be written as JSON.
        OSError: The file can't be written.
    """
    output = as_output(returned)
    label = output.label or label
    raw = output.text.encode()
    if len(raw) <= limit:
        return Result(output.text, output.value, label, failed=output.failed, origin=output.origin)
    name = f"{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}-{hashlib.sha256(access.key.encode()).hexdigest()[:12]}.txt"
    file = access.folder / name

    def write() -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)

    await in_thread(write, name=f"{tool} output")
    shown = raw[:limit].decode("utf-8", "ignore")
    more = len(raw) - len(shown.encode())
    return Result(
        f"{shown}\n… {more:,} more bytes, saved at {file}",
        output.value,
        label,
        output.failed,
        file=name,
        origin=output.origin,
    )


def describe(error: BaseException) -> str:
    """An error as one line for the model: its kind and message, no traceback."""
    try:
        said = str(error)
    except Exception:
        # an error of a plug-in may not even be printable
        said = ""
    said = " ".join(clean(said).split())
    said = said if len(said) <= MAX_ERROR else f"{said[:MAX_ERROR]}…"
    kind = type(error).__name__
    return f"{kind}: {said}" if said else kind


def visible(text: str) -> str:
    """A text as a person must see it before agreeing: characters that hide, reorder or control are written as escapes.

    Line ends and tabs stay.
    """
    return "".join(char if char.isprintable() or char in "\n\t" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
