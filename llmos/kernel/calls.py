"""What a proposed effect is, where its arguments came from, and what was decided about it: plain data.

Shared by the kernel's gate, the policy and the tools. Knows none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Label = Literal["user", "files", "outside"]
"""Where data comes from: the user's own words, the user's files, the outside world. Later ones are trusted less."""

Effect = Literal["pure", "reads", "writes", "external", "irreversible"]
"""What a tool does to the world: nothing; looks at the user's own data; changes it in a way that can be undone; reaches
beyond this machine; can't be taken back."""

Level = Literal["L0", "L1", "L2", "L3", "L4", "L5"]
"""How far a run may go by itself: suggest; read only; ask for every effect; ask when the policy is violated (default);
no questions inside a signed grant; nobody to ask, so that a question is a denial."""

_LABELS: tuple[Label, ...] = ("user", "files", "outside")


def join(*labels: Label) -> Label:
    """The least trusted of some labels; the user's, if there are none."""
    return _LABELS[max((_LABELS.index(label) for label in labels), default=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a tool declares of itself; fixed before a run and reviewed as code, never taken from a model.

    Attributes:
        effect: The worst it can do.
        steers: Names of the arguments that decide what is affected: recipient, path, URL, amount, command. Others are
            content.
        returns: The label of what it gives back.
        repeatable: Doing it twice is the same as doing it once: a killed run does it again without asking.
        keyed: It takes an idempotency key (`Access.key`), by which its far side recognizes a repetition.
        confined: It can't reach beyond the run's workspace, or the origin that its argument `origin` names, whatever
            its other arguments are: a grant authorizes it (code in the sandbox without network, a click on an allowed
            page); an origin is also authorized by having been opened.
        confirmed: The words of a request are not enough: a person, or a grant that names every steering argument,
            agrees to each call.
        opens: Names of the arguments whose origins the run may act on after such a call.
        seconds: It is cancelled after so long.
        output_bytes: More output than this is cut, and kept in a file.
        parallel: How many calls of it may run at once, in the whole kernel.
    """

    effect: Effect = "irreversible"
    steers: frozenset[str] = frozenset()
    returns: Label = "outside"
    repeatable: bool = False
    keyed: bool = False
    confined: Literal["workspace", "origin"] | None = None
    confirmed: bool = False
    opens: frozenset[str] = frozenset()
    seconds: float = 60.0
    output_bytes: int = 16_384
    parallel: int = 8


Origin = Literal["span", "record", "enum", "computed", "default", "model"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an argument's value came from, known by how it was decoded or found out by tracing it.

    Attributes:
        origin: `span` (characters of a source), `record` (a field of a record that the user's words select), `enum`
            (one of the schema's few values), `computed` (by a pure tool from the arguments in `of`), `default` (the
            schema's), `model` (nothing is known: the model wrote it).
        label: The least trusted thing that it depends on.
        source: What it was taken from, for people: `your request`, `files.read notes/a.md`, `http.get https://…`.
        start, end: For a span, where in the source it stands, in characters.
        of: For a computed value, what it was computed from.
    """

    origin: Origin
    label: Label
    source: str = ""
    start: int = -1
    end: int = -1
    of: tuple[Provenance, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """One result that the agent has seen: what was called, with what, and what came back (plain JSON values).

    Attributes:
        tool, arguments: The call.
        value: What came back.
        label: Where that comes from.
        effect: Of the tool.
        opened: Addresses that the call opened for the run (`Traits.opens`): it had passed the policy.
        origin: The origin that all of `value` was shown by, as `Result.origin`.
    """

    tool: str
    arguments: Mapping[str, Any]
    value: Any
    label: Label
    effect: Effect = "reads"
    opened: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ProposedCall:
    """A call that an agent wants to make. `arguments` have been validated against the tool's schema.

    `provenance` holds what is known by construction, by argument name; the policy traces the others itself.
    """

    tool: str
    traits: Traits
    arguments: Mapping[str, Any]
    provenance: Mapping[str, Provenance] = field(default_factory=dict[str, Provenance])


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A standing permission: these tools, on targets that match, so many times, until then.

    Attributes:
        id: By which it is listed and revoked.
        tools: Names of tools, `fnmatch` patterns.
        targets: By steering argument, `fnmatch` patterns of the values allowed; an argument not named is free.
        calls: How many calls it still covers; None for any number.
        expires: Seconds since the epoch; None for the end of the run.
        run: The run it belongs to; empty for all runs of this user.
        workspace: For `confined="workspace"`: the folder.
        origins: For `confined="origin"`: `https://host[:port]` of allowed pages.
    """

    id: str
    tools: tuple[str, ...] = ("*",)
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    calls: int | None = None
    expires: float | None = None
    run: str = ""
    workspace: str = ""
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a policy decides by, besides the call itself.

    Attributes:
        words: What the root user has said in this run, oldest first. The only authority there is.
        seen: What the agent's context contains besides, oldest first, results of its own calls and of its children's.
        level: See `Level`.
        grants: Those in force.
        now: Seconds since the epoch.
        spawned: The call comes from a process that an agent started: its task is not the user's words.
    """

    words: tuple[str, ...]
    seen: tuple[Observed, ...] = ()
    level: Level = "L3"
    grants: tuple[Grant, ...] = ()
    now: float = 0.0
    spawned: bool = False


@dataclass(frozen=True, slots=True)
class Allow:
    """The call may run. `grant` is the one that covered it, to be charged."""

    reason: str
    grant: str = ""
    provenance: Mapping[str, Provenance] = field(default_factory=dict[str, Provenance])
    verdict: Literal["allow"] = "allow"


@dataclass(frozen=True, slots=True)
class Ask:
    """A person must decide. `provenance` says where each argument came from, for the question."""

    reason: str
    provenance: Mapping[str, Provenance] = field(default_factory=dict[str, Provenance])
    verdict: Literal["ask"] = "ask"


@dataclass(frozen=True, slots=True)
class Deny:
    """The call may not run, whoever asks."""

    reason: str
    provenance: Mapping[str, Provenance] = field(default_factory=dict[str, Provenance])
    verdict: Literal["deny"] = "deny"


Decision = Allow | Ask | Deny


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person is asked: exactly this call, this effect. `digest` binds the answer to what was shown."""

    pid: str
    call: ProposedCall
    decision: Ask
    shown: str
    digest: str


Reply = Literal["once", "run", "always", "no"]
"""Yes, this once; for this target in this run; for this target always (a grant that lasts); no."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave back.

    Attributes:
        text: For the model, already cut to the tool's limit.
        value: The same as plain JSON data, for the policy's records and for programs; None where there is only text.
        label: Where it comes from.
        failed: The call did not do what was asked; the text says why. The agent may go on.
        retry: The agent should try again with other arguments; the text says which.
        file: Where output that was cut is kept whole, relative to the run's folder; empty otherwise.
        origin: `https://host[:port]` if text and value are what pages of this one origin show; empty otherwise.
    """

    text: str
    value: Any = None
    label: Label = "outside"
    failed: bool = False
    retry: bool = False
    file: str = ""
    origin: str = ""
