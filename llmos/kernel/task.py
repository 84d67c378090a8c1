"""What a run is started with: plain data that the journal keeps, so that the run can be started again.

Knows no system and no process.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from llmos import wire
from llmos.errors import StorageError
from llmos.kernel.budget import DEFAULT, Budget
from llmos.kernel.calls import Level, Observed
from llmos.kernel.journal import canonical
from llmos.messages import Context, Priority, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a run was started with: enough to start it again.

    Attributes:
        arguments: What the agent's function gets, JSON data.
        words: The root user's own words among what it is given, which alone authorize anything; None for the arguments
            that are texts.
        seen: Everything else that it is given, with label and source: material, earlier turns. None where nobody says
            what `context` is: it then counts as from outside.
        context: The conversation so far, as a line of `wire`; empty for none.
        tools: Names of the tools that it may call; None for all.
        sampling, max_tokens: How its thinks choose tokens unless they say otherwise, and how many at most; None until
            the system has entered its own when the run starts.
    """

    agent: str
    arguments: tuple[Any, ...] = ()
    words: tuple[str, ...] | None = None
    seen: tuple[Observed, ...] | None = None
    level: Level = "L3"
    priority: Priority = "interactive"
    workspace: str = "."
    budget: Budget = DEFAULT
    context: str = ""
    tools: tuple[str, ...] | None = None
    sampling: Sampling | None = None
    max_tokens: int | None = None

    @property
    def said(self) -> tuple[str, ...]:
        """The root user's words."""
        return tuple(text for text in self.arguments if isinstance(text, str)) if self.words is None else self.words

    @property
    def observed(self) -> tuple[Observed, ...]:
        """What its process has seen when it begins."""
        return unlabelled(self.begins_with) if self.seen is None else self.seen

    @property
    def begins_with(self) -> Context:
        """The context that its process begins with."""
        known = wire.decode(self.context.encode()) if self.context else Context()
        if not isinstance(known, Context):
            raise StorageError("A run was started with a context that is none.", hint="Start a new run.")
        return known

    def to_json(self) -> str:
        """As the journal keeps it."""
        return canonical(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """What `to_json` wrote."""
        data = json.loads(text)
        data["budget"], data["arguments"] = Budget(**data["budget"]), tuple(data["arguments"])
        for name in ("words", "tools"):
            data[name] = None if data[name] is None else tuple(data[name])
        if data["seen"] is not None:
            for seen in data["seen"]:
                seen["opened"] = tuple(seen.get("opened", ()))
            data["seen"] = tuple(Observed(**seen) for seen in data["seen"])
        if data["sampling"] is not None:
            sampling = Sampling(**data["sampling"])
            bias = {int(token): value for token, value in sampling.logit_bias.items()}
            data["sampling"] = replace(sampling, logit_bias=bias)
        return cls(**data)


def unlabelled(context: Context) -> tuple[Observed, ...]:
    """What a process has seen that begins with a context of which nobody says where it comes from."""
    texts = [message.content for message in context.messages if message.role != "system" and message.content]
    texts += [context.text] if context.text else []
    return tuple(Observed("conversation", {}, text, "outside") for text in texts)
