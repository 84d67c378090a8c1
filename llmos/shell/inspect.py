"""`llmos tokens` and `llmos next`: what the processor sees and what it would say. Knows no terminal library."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, replace

from llmos.boot import Kernel
from llmos.config import Settings
from llmos.errors import Unsupported
from llmos.events import Alternative, Token
from llmos.kernel.protocols import Engine
from llmos.messages import GREEDY, Context, Generate
from llmos.portal import closing
from llmos.shell import jsonl, waiting
from llmos.shell.text import harmless

_BACKGROUNDS = ("48;5;24", "48;5;58", "48;5;53", "48;5;22", "48;5;94")
_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a text.

    Attributes:
        complete: Whether its bytes are whole characters.
    """

    token: int
    data: bytes
    complete: bool

    @property
    def shown(self) -> str:
        """Its text on one line; bytes that are only a part of a character as hexadecimal numbers."""
        if not self.complete:
            return "".join(f"<{byte:02X}>" for byte in self.data)
        return visible(self.data.decode())


def visible(text: str) -> str:
    """A text on one line, line breaks and tabs shown as signs."""
    return harmless(text.replace("\n", "↵").replace("\t", "⇥").replace("\r", "␍"))


async def pieces_of(engine: Engine, text: str) -> list[Piece]:
    """The tokens of a text, each with its bytes.

    Raises:
        Unsupported: The engine does not tell its tokens.
    """
    if "tokenize" not in engine.info.capabilities:
        raise Unsupported(f"The engine {engine.info.name!r} does not tell its tokens.", hint="Use a local model.")
    return [_piece(token, await engine.detokenize((token,))) for token in await engine.tokenize(text)]


def _piece(token: int, data: bytes) -> Piece:
    try:
        data.decode()
    except UnicodeDecodeError:
        return Piece(token, data, complete=False)
    return Piece(token, data, complete=True)


async def show_tokens(text: str, settings: Settings, *, as_json: bool) -> None:
    """Print the tokens of a text: the pieces, then each with its id and bytes, then how many.

    Raises:
        LlmosError: The model can't be loaded, or does not tell its tokens.
    """
    async with Kernel(settings=settings) as kernel:
        engine = await waiting.loaded(kernel, notice=waiting.say)
        pieces = await pieces_of(engine, text)
        name = engine.info.name
    size = len(text.encode("utf-8", "replace"))
    if as_json:
        tokens = [
            {"id": piece.token, "text": piece.data.decode() if piece.complete else None, "bytes": piece.data.hex(" ")}
            for piece in pieces
        ]
        print(jsonl.line({"model": name, "count": len(pieces), "bytes": size, "tokens": tokens}))
        return
    print("".join(_coloured(piece.shown, index) for index, piece in enumerate(pieces)))
    print()
    for piece in pieces:
        part = "" if piece.complete else "   part of a character"
        print(f"{piece.token:>8}  {piece.data.hex(' '):<24}  {piece.shown}{part}")
    split = sum(not piece.complete for piece in pieces)
    print(f"\n{_count(len(pieces), 'token')} for {_count(len(text), 'character')} and {_count(size, 'byte')}", end="")
    print(f"; {_count(split, 'token')} with a part of a character" if split else "")


def _coloured(text: str, index: int) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return f"{text}|"
    return f"\x1b[{_BACKGROUNDS[index % len(_BACKGROUNDS)]};97m{text}\x1b[0m"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


async def show_next(text: str, settings: Settings, *, top: int, as_json: bool) -> None:
    """Print the likeliest next tokens after a text, with their probabilities as bars.

    Raises:
        Unsupported: The engine does not tell log-probabilities.
        LlmosError: The model can't be loaded, or the request failed.
    """
    async with Kernel(settings=settings) as kernel:
        engine = await waiting.loaded(kernel, notice=waiting.say)
        name = engine.info.name
        alternatives = await next_tokens(engine, text, top=top)
    if as_json:
        tokens = [
            {"id": item.token, "text": item.text, "logprob": item.logprob, "probability": math.exp(item.logprob)}
            for item in alternatives
        ]
        print(jsonl.line({"model": name, "text": text, "next": tokens}))
        return
    if not alternatives:
        print("the likeliest next token ends the text")
        return
    width = max(len(visible(item.text)) for item in alternatives) + 2
    scale = _BAR / max(math.exp(item.logprob) for item in alternatives)
    for item in alternatives:
        share = math.exp(item.logprob)
        quoted = f"'{visible(item.text)}'"
        print(f"{quoted:<{width}}  {share:>6.1%}  {bar(share * scale)}".rstrip())
    rest = 1 - sum(math.exp(item.logprob) for item in alternatives)
    print(f"{'all others':<{width}}  {max(rest, 0):>6.1%}")


async def next_tokens(engine: Engine, text: str, *, top: int) -> tuple[Alternative, ...]:
    """The likeliest next tokens after a text; none where the likeliest one ends it.

    Raises:
        Unsupported: The engine does not tell log-probabilities.
    """
    if "logprobs" not in engine.info.capabilities:
        message = f"The engine {engine.info.name!r} does not tell log-probabilities."
        raise Unsupported(message, hint="Use a local model.")
    request = Generate(
        context=Context(text=text), sampling=replace(GREEDY, top_k=0), max_tokens=1, top_logprobs=top, draft=False
    )
    async with closing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, Token):
                return event.top
    return ()


def bar(length: float) -> str:
    """A bar of a length in characters, exact to an eighth of one."""
    whole, part = divmod(round(max(length, 0) * 8), 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")
