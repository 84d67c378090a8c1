"""What an engine's host process and its parent say to each other, one frame per line.

The parent sends one `Boot`, then calls, each with a number of its own; the host answers `Ready`, then for every call
any number of `Emit` and one result or `Failed`, and in between a `Pulse` now and then. A call that was cancelled gets
no more answers. Knows no process and no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Discriminator

from llmos.events import EngineEvent
from llmos.messages import Context, EngineInfo, Generate, Score, Scores
from llmos.wire import Codec, ErrorData

BOOT = 0
"""The number under which a host reports what concerns no call: a failed start, a line it could not read."""


@dataclass(frozen=True, slots=True)
class Boot:
    """The first frame: which engine to make, by the name of its factory, with what, and how often to show it lives."""

    factory: str
    options: Mapping[str, Any]
    pulse_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Run:
    """Generate; with `prefix`, resume an answer that already has these token ids."""

    call: int
    request: Generate
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Compare:
    """Score."""

    call: int
    request: Score


@dataclass(frozen=True, slots=True)
class Tokenize:
    """Tokenize."""

    call: int
    text: str
    special: bool = False


@dataclass(frozen=True, slots=True)
class Detokenize:
    """Detokenize."""

    call: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork."""

    call: int
    context: Context
    n: int


@dataclass(frozen=True, slots=True)
class Save:
    """Save to a file that the host can write."""

    call: int
    context: Context
    path: str


@dataclass(frozen=True, slots=True)
class Restore:
    """Restore from a file that the host can read."""

    call: int
    path: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a call; there is no answer."""

    call: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine stands."""

    info: EngineInfo


@dataclass(frozen=True, slots=True)
class Pulse:
    """The engine gets round to what it is asked."""


@dataclass(frozen=True, slots=True)
class Emit:
    """One event of a `Run`; `Finished` is its last answer."""

    call: int
    event: Annotated[EngineEvent, Discriminator("kind")]


@dataclass(frozen=True, slots=True)
class Scored:
    """The answer to `Compare`."""

    call: int
    scores: Scores


@dataclass(frozen=True, slots=True)
class Ids:
    """The answer to `Tokenize`."""

    call: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """The answer to `Detokenize`; the bytes as numbers, for they need not be text."""

    call: int
    data: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Contexts:
    """The answer to `Fork` and `Restore`."""

    call: int
    contexts: tuple[Context, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to `Save`."""

    call: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A call, or number `BOOT`, ended with an error."""

    call: int
    error: ErrorData


Ask = Run | Compare | Tokenize | Detokenize | Fork | Save | Restore
Result = Scored | Ids | Data | Contexts | Done
ToHost = Boot | Ask | Cancel
FromHost = Ready | Pulse | Emit | Result | Failed

TO_HOST: Codec[ToHost] = Codec(Boot, Run, Compare, Tokenize, Detokenize, Fork, Save, Restore, Cancel)
FROM_HOST: Codec[FromHost] = Codec(Ready, Pulse, Emit, Scored, Ids, Data, Contexts, Done, Failed)
