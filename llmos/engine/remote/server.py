"""What is known about a remote server: its kind, its context, what it refuses.

Asked from it once, before the first request, and learned from its refusals. Knows how requests look, not how they are
sent again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from llmos.engine.remote.faults import Fault
from llmos.engine.remote.transport import Transport
from llmos.messages import Capability, EngineInfo

ServerKind = Literal["llama-server", "vllm", "ollama", "openai", "other"]

# Left out for a server that refuses them; the answer is then a little different, which is told once.
OPTIONAL = frozenset(
    {
        "top_k",
        "min_p",
        "repeat_penalty",
        "repeat_last_n",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "temperature",
        "top_p",
        "seed",
        "logprobs",
        "top_logprobs",
        "stream_options",
    }
)
# Of these, what plain OpenAI servers may not know: suspected when a refusal names nothing.
SUSPECTS = OPTIONAL - {"temperature", "top_p"}
# What is known to be refused, or passed over without a word, by documentation.
_UNTAKEN: Mapping[ServerKind, frozenset[str]] = {
    "openai": frozenset({"top_k", "min_p", "repeat_penalty"}),
    "ollama": frozenset({"top_k", "min_p", "repeat_penalty"}),
}
_UNKNOWN = re.compile(
    r"not (support|permit|allow|available|implement|recogni)|unsupported|unrecogni[sz]ed|unknown|unexpected|unavailable"
    r"|extra[_ ](input|forbidden)|invalid (argument|parameter|field)|does(n't| not) support",
    re.IGNORECASE,
)
_PROBE_SECONDS = 10.0
_CONTEXT_NAMES = ("max_model_len", "context_length", "context_window", "max_context_length")

logger = logging.getLogger("llmos.engine.remote")


@dataclass(slots=True)
class Server:
    """What is known so far; grows while the engine is used.

    Attributes:
        kind: Decides which extras are sent. `openai` is the cloud with exactly the documented fields.
        context: Tokens of one sequence, 0 where unknown.
        vocabulary: Number of token ids, 0 where unknown.
        version: As the server says it.
        refused: Request fields that it does not take.
        formats_refused: Ways of constraining an answer that it does not take.
        completion_tokens: Whether the limit is called `max_completion_tokens`, as at OpenAI since 2024.
        probed: Whether it has been asked.
        input_price, output_price: See `EngineInfo`.
    """

    model: str
    base: str
    kind: ServerKind = "other"
    context: int = 0
    vocabulary: int = 0
    version: str = ""
    refused: set[str] = field(default_factory=set[str])
    formats_refused: set[str] = field(default_factory=set[str])
    completion_tokens: bool = False
    gives_logprobs: bool = False
    probed: bool = False
    input_price: float = 0.0
    output_price: float = 0.0

    @property
    def gives_ids(self) -> bool:
        """Whether texts can be made into token ids here as the engine protocol wants it."""
        return self.kind == "llama-server"

    @property
    def info(self) -> EngineInfo:
        """What the engine is, as far as is known now."""
        capabilities: set[Capability] = {"constrain", "tools"}
        if self.kind in ("llama-server", "vllm") or (self.gives_logprobs and "logprobs" not in self.refused):
            capabilities |= {"logprobs", "score"}
        if self.gives_ids:
            capabilities.add("tokenize")
        details = {"server": f"{self.kind} {self.version}".rstrip(), "address": self.base}
        if self.refused:
            details["not taken by the server"] = ", ".join(sorted(self.refused))
        if self.kind == "ollama":
            details["note"] = "Ollama cuts prompts over its context silently: set OLLAMA_CONTEXT_LENGTH high enough"
        return EngineInfo(
            name=self.model,
            fingerprint=f"remote:{self.base}#{self.model}",
            context=self.context,
            vocabulary=self.vocabulary,
            template="remote",
            tool_format="remote",
            capabilities=frozenset(capabilities),
            details=details,
            input_price=self.input_price,
            output_price=self.output_price,
        )

    def refuse(self, names: Collection[str]) -> None:
        """Remember fields that it does not take, and tell it once."""
        new = sorted(set(names) - self.refused)
        if new:
            self.refused |= set(new)
            logger.warning("%s does not take %s: left out from now on.", self.base, ", ".join(new))

    def named(self, fault: Fault, body: Mapping[str, object]) -> set[str]:
        """Which optional fields of a request a refusal is about."""
        if fault.status not in (400, 403, 422, 501):
            return set()
        said = {name for name in OPTIONAL & body.keys() if re.search(rf"\b{name}\b", fault.text)}
        if said & {"logprobs", "top_logprobs"}:
            said |= {"logprobs", "top_logprobs"}
        # A refusal of a value is the caller's business, a refusal of the field itself is not.
        return said if _UNKNOWN.search(fault.text) else set()

    def wants_completion_tokens(self, fault: Fault) -> bool:
        """Whether it refused `max_tokens` because the field has got another name."""
        return fault.status == 400 and "max_completion_tokens" in fault.text and not self.completion_tokens


async def probe(transport: Transport, server: Server) -> None:
    """Ask a server what it is. What it does not tell stays unknown.

    Raises:
        Fault: It can't be reached at all.
    """
    if server.kind != "openai":
        await _ask_all(transport, server)
    server.refused |= _UNTAKEN.get(server.kind, frozenset())
    server.probed = True


async def _ask_all(transport: Transport, server: Server) -> None:
    try:
        listed = await transport.call("GET", f"{transport.address.base}/models", seconds=_PROBE_SECONDS)
    except Fault as fault:
        if fault.retry and fault.status == 0:
            raise
        listed = None
    model = _entry(listed, server.model)
    server.context = next((size for name in _CONTEXT_NAMES if (size := _number(model.get(name)))), server.context)
    if server.kind == "other":
        server.kind = _kind(model)
    if server.kind == "llama-server":
        await _probe_llama_server(transport, server, model)
    elif server.kind == "vllm":
        version = (await _ask(transport, "/version")).get("version")
        server.version = version if isinstance(version, str) else ""
    elif server.kind == "ollama":
        await _probe_ollama(transport, server)


async def _probe_llama_server(transport: Transport, server: Server, model: Mapping[str, object]) -> None:
    props = await _ask(transport, "/props")
    server.context = _number(_table(props.get("default_generation_settings")).get("n_ctx")) or server.context
    version = props.get("build_info")
    server.version = version if isinstance(version, str) else ""
    server.vocabulary = _number(_table(model.get("meta")).get("n_vocab"))


async def _probe_ollama(transport: Transport, server: Server) -> None:
    version = (await _ask(transport, "/api/version")).get("version")
    server.version = version if isinstance(version, str) else ""
    loaded = (await _ask(transport, "/api/ps")).get("models")
    for item in cast("list[object]", loaded) if isinstance(loaded, list) else []:
        entry = _table(item)
        if {server.model, f"{server.model}:latest"} & {str(entry.get("name")), str(entry.get("model"))}:
            server.context = _number(entry.get("context_length"))


async def _ask(transport: Transport, path: str) -> Mapping[str, object]:
    """A table from one of the server's own paths, empty if there is none."""
    try:
        return _table(await transport.call("GET", transport.address.root + path, seconds=_PROBE_SECONDS))
    except Fault:
        return {}


def _entry(listed: object, model: str) -> Mapping[str, object]:
    """The model's entry in the list of models; the first one if it is not in there."""
    data = _table(listed).get("data")
    entries = [_table(item) for item in cast("list[object]", data)] if isinstance(data, list) else []
    named = (entry for entry in entries if entry.get("id") == model)
    return next(named, entries[0] if len(entries) == 1 else _owner(entries))


def _owner(entries: list[Mapping[str, object]]) -> Mapping[str, object]:
    return {"owned_by": entries[0].get("owned_by")} if entries else {}


def _kind(model: Mapping[str, object]) -> ServerKind:
    kinds: dict[object, ServerKind] = {"llamacpp": "llama-server", "vllm": "vllm", "library": "ollama"}
    owner = model.get("owned_by")
    return kinds.get(owner, "other") if isinstance(owner, str) else "other"


def _table(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
