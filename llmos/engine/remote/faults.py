"""What can go wrong with a remote server, as typed errors, and whether asking again may help.

Knows HTTP statuses and error bodies, and no client.
"""

from __future__ import annotations

import email.utils
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from llmos.engine.remote.address import Address
from llmos.errors import EngineError, PromptTooLong, RemoteError

_SHOWN = 400
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_TOO_LONG = re.compile(
    r"context[ _-]?(length|size|window)|exceed_context|prompt is too long|too many (input |prompt )?tokens"
    r"|reduce the length of the (messages|prompt)",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"insufficient[ _](quota|balance|credit|funds)|billing", re.IGNORECASE)


class Fault(Exception):
    """A failed exchange, before it is decided whether to try again.

    Attributes:
        error: What to raise in the end.
        retry: Whether the same request may succeed later.
        after: Seconds that the server asks to wait, None where it does not say.
        status: The HTTP status, 0 without an answer.
        text: What the server said.
    """

    def __init__(
        self, error: EngineError, *, retry: bool = False, after: float | None = None, status: int = 0, text: str = ""
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry = retry
        self.after = after
        self.status = status
        self.text = text


def garbage(address: Address, what: str, shown: str = "") -> Fault:
    """The server answered something that the protocol does not have."""
    said = f": {_cut(address.hide(shown))!r}" if shown else ""
    return Fault(
        RemoteError(
            f"The server at {address.base!r} answered {what}{said}.",
            hint="Check that the address is that of an OpenAI-compatible server; it mostly ends in /v1.",
            status=200,
        ),
        status=200,
    )


def refused(address: Address, status: int, headers: Mapping[str, str], body: bytes, *, model: str) -> Fault:
    """A fault from an answer that is not 200."""
    text = address.hide(server_words(body))
    said = f": {_cut(text)!r}" if text else ""
    if status in (400, 413, 422, 500) and (fault := too_long(address, text, status)):
        return fault
    retry = status in _RETRIED and not _QUOTA.search(text)
    hint = _hint(address, status, headers, text, model)
    error = RemoteError(f"The server at {address.base!r} answered {status}{said}.", hint=hint, status=status)
    return Fault(error, retry=retry, after=retry_after(headers.get("retry-after", "")), status=status, text=text)


def too_long(address: Address, text: str, status: int) -> Fault | None:
    """A fault if the server's words mean that the prompt does not fit into the context."""
    if not _TOO_LONG.search(text):
        return None
    error = PromptTooLong(
        f"The server at {address.base!r} refused the prompt: {_cut(text)!r}.",
        hint="Shorten the conversation, or use a model or server setting with a longer context.",
    )
    return Fault(error, status=status, text=text)


def _hint(address: Address, status: int, headers: Mapping[str, str], text: str, model: str) -> str:
    if 300 <= status < 400:
        place = _cut(address.hide(headers.get("location", "")).split("?")[0])
        return f"It redirects to {place!r}, which is not followed: use that as base_url if you trust it."
    if status == 401:
        return "Check the API key." if address.key else "Give an api_key."
    if status == 403:
        return f"The key may not use the model {model!r} or this address."
    if status in (404, 405):
        return f"Check the model's name {model!r} and the address, which mostly ends in /v1."
    if status == 413:
        return "Shorten the conversation."
    if status == 429 or _QUOTA.search(text):
        return "A quota is used up or the server is busy: check the account, or try later with fewer requests at once."
    return "Try again later; the server's log may tell more." if status >= 500 else "The server refuses this request."


def server_words(body: bytes) -> str:
    """What an error body says, in one line: the message of the known forms, otherwise the body itself."""
    text = body.decode("utf-8", "replace")
    try:
        found = _message(json.loads(text))
    except (ValueError, RecursionError):
        found = re.sub(r"<[^>]*>", " ", text)
    return one_line(found)


def _message(value: object) -> str:
    """OpenAI, llama-server: {"error": {"message"}}; Ollama: {"error": "…"}; FastAPI: {"detail"}; vLLM: {"message"}."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        for name in ("error", "detail", "message"):
            if fields.get(name):
                codes = [fields.get(code) for code in ("type", "code", "param") if name == "message"]
                extra = " ".join(str(code) for code in codes if isinstance(code, str | int) and code)
                return f"{_message(fields[name])} ({extra})" if extra else _message(fields[name])
    return json.dumps(value, ensure_ascii=False)


def one_line(text: str) -> str:
    """Without control characters, so that a server can't draw on a terminal or forge lines of a log."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _cut(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def retry_after(value: str, *, now: datetime | None = None) -> float | None:
    """Seconds to wait by a `Retry-After` header: a number of seconds or an HTTP date (RFC 9110, section 10.2.3)."""
    try:
        seconds = float(value)
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
