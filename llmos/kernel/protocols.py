"""What the kernel asks of the parts below and beside it: small protocols, implemented elsewhere.

Knows no implementation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llmos.errors import Denied
from llmos.events import EngineEvent
from llmos.kernel.calls import Approval, Decision, Label, ProposedCall, Reply, Result, Situation, Traits
from llmos.messages import Context, EngineInfo, Generate, Score, Scores, ToolSpec


class Engine(Protocol):
    """The processor: many requests at once, each an independent stream of events.

    All methods may raise any `EngineError`. After `close` every method raises `EngineClosed`.
    """

    @property
    def info(self) -> EngineInfo:
        """What this engine is and can do."""
        ...

    def generate(self, request: Generate, /) -> AsyncIterator[EngineEvent]:
        """Continue a context: `Started`, any number of `Token`, one `Finished`.

        An async generator: closing it (`aclose`, leaving an `async for`, cancelling the task) cancels the request at
        its next token. Text that arrived until then stays valid.
        """
        ...

    async def score(self, request: Score, /) -> Scores:
        """How likely each choice is as the continuation of a context."""
        ...

    async def tokenize(self, text: str, /, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text; with `special`, names of control tokens in it become those tokens."""
        ...

    async def detokenize(self, tokens: Sequence[int], /) -> bytes:
        """The bytes that token ids stand for, control tokens by name; a part of a character stays a part."""
        ...

    async def fork(self, context: Context, n: int, /) -> tuple[Context, ...]:
        """n branches of a context. Where `fork` is a capability they share its KV state, and no token is read again;
        elsewhere each branch re-sends it."""
        ...

    async def save(self, context: Context, path: Path, /) -> None:
        """Write the KV state of a context to a file, so that `restore` continues it without reading it again."""
        ...

    async def restore(self, path: Path, /) -> Context:
        """Bring a saved context back. A damaged or foreign file is a `StorageError`; its messages are then re-read."""
        ...

    async def close(self) -> None:
        """End all requests with `EngineClosed` and free the model. A second call does nothing."""
        ...


Similar = Callable[[str, Mapping[str, Sequence[str]]], Awaitable[Mapping[str, float] | None]]
"""How near in meaning the nearest text of each name is to some words: cosines, -1 to 1; None where nobody can tell."""


def _no_secret(handle: str, host: str) -> str:
    raise Denied(f"{handle} can't be looked up here: there is no vault.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a tool may use while it runs one call: nothing else of the system reaches it.

    Attributes:
        pid: The process that called.
        workspace: The folder it may work in.
        folder: The run's own folder, for output that is too long to return.
        key: Idempotency key of this call, the same when the call is repeated after a crash.
        deps: The typed context that the embedding application gave to the run; None without.
        ask: Put a question to the user; returns the answer.
        keep: Keep what is about to be overwritten (the file, or None where it does not exist yet), so that `undo` can
            take the effect back. To be called before the effect.
        progress: Say how it goes, one line.
        secret: What a handle (`secret://name`) from the settings stands for, given the host it will be sent to; raises
            `Denied` where it is not bound to this tool and host. Handles in arguments are replaced before the call.
        put_in: Texts in the arguments into which secrets were put that way, and the same with the handles: for a tool
            that passes them on to where they could be seen.
    """

    pid: str
    workspace: Path
    folder: Path
    key: str
    deps: Any
    ask: Callable[[str], Awaitable[str]]
    keep: Callable[[Path], Awaitable[None]]
    progress: Callable[[str], None]
    secret: Callable[[str, str], str] = _no_secret
    put_in: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


class Device(Protocol):
    """A tool as the kernel sees it."""

    @property
    def spec(self) -> ToolSpec:
        """Name, description and JSON schema, for the model."""
        ...

    @property
    def traits(self) -> Traits:
        """What it may do to the world."""
        ...

    def check(self, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Arguments as validated JSON data, defaults filled in.

        Raises:
            BadArguments: They don't fit the schema; the message is for the model.
        """
        ...

    def show(self, arguments: Mapping[str, Any], access: Access, /) -> str:
        """The exact effect, for the person who is asked: a diff, a command line, a URL. Must not have any effect."""
        ...

    async def call(self, arguments: Mapping[str, Any], access: Access, /) -> Result:
        """Do it. Trouble inside the tool comes back as a `Result` with `failed` or `retry`, never as an exception."""
        ...

    async def done(self, arguments: Mapping[str, Any], access: Access, /) -> Result | None:
        """Read back whether this call has been carried out already, after a crash: its result, or None if it has not.

        Raises:
            Unsupported: That can't be found out.
        """
        ...


class Policy(Protocol):
    """Decides over proposed calls. Pure: same call, same situation, same decision; no model, no clock, no disk."""

    def decide(self, call: ProposedCall, situation: Situation, /) -> Decision:
        """Whether a call may run, must be asked about, or may not."""
        ...


class Approver(Protocol):
    """Whoever answers for the user."""

    async def approve(self, approval: Approval, /) -> Reply:
        """Put one effect to the user."""
        ...

    async def answer(self, pid: str, question: str, /) -> str:
        """Put an open question to the user.

        Raises:
            NobodyThere: Nobody can answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Memo:
    """One thing remembered, with how well it matches."""

    text: str
    label: Label
    source: str = ""
    score: float = 0.0


class Store(Protocol):
    """The disk: what agents remember and recall."""

    async def remember(self, text: str, /, *, label: Label, source: str = "", key: str = "") -> None:
        """Keep a text. A second one under the same idempotency key is ignored."""
        ...

    async def recall(self, query: str, /, *, limit: int = 5) -> tuple[Memo, ...]:
        """What fits a query best, best first."""
        ...


class Vault(Protocol):
    """Secrets: agents hold handles (`secret://name`), tools get what they stand for."""

    def resolve(self, tool: str, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Arguments with handles replaced, as far as each secret is bound to this tool and host.

        Raises:
            Denied: A secret is not for this tool or host.
        """
        ...

    def redact(self, text: str, /) -> str:
        """A text without any secret in it."""
        ...
