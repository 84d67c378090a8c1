"""What goes to a processor: messages, contexts and requests, as plain data that serializes.

Knows no engine, no kernel and no model. All classes are frozen; `llmos.wire` turns them into JSON and back.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Priority = Literal["interactive", "normal", "background"]
CLASSES: Mapping[Priority, int] = {"interactive": 0, "normal": 1, "background": 2}
"""Priorities by rank: 0 is the most urgent."""

Capability = Literal[
    "adapters", "beams", "constrain", "fork", "logprobs", "priorities", "save", "score", "tokenize", "tools"
]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it. `parameters` is a JSON schema of type object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call the model asks for. `id` is the engine's, or empty where its format has none."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        content: The visible text; for role `tool` the result.
        reasoning: What a reasoning model thought before it, never part of the answer.
        tool_calls: What an assistant turn asks for.
        name: For role `tool`, the tool that ran.
        tool_call_id: For role `tool`, the `ToolCall.id` it answers.
    """

    role: Role
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The contents of one context window: either a conversation (`messages`, `tools`) or raw `text`.

    Attributes:
        messages: The conversation, oldest first.
        tools: What the model may call.
        text: Raw text to be continued without a chat template; only without messages.
        tokens: The ids an engine has already read for the beginning of this context. Engines fill it in, keep it and
            reuse it, so that turn N reads only what is new; text is never tokenized a second time. Ids belong to one
            model: another engine ignores them.
        model: The fingerprint of the model the `tokens` belong to.
    """

    messages: tuple[Message, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    text: str | None = None
    tokens: tuple[int, ...] = ()
    model: str = ""

    @classmethod
    def chat(cls, user: str, *, system: str = "", tools: tuple[ToolSpec, ...] = ()) -> Context:
        """A new conversation that starts with the user's words."""
        start = (Message("system", system),) if system else ()
        return cls(messages=(*start, Message("user", user)), tools=tools)

    def add(self, *messages: Message) -> Context:
        """This context with more messages at its end; its tokens stay."""
        return replace(self, messages=(*self.messages, *messages))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest token (greedy).
        top_k: Keep the k likeliest tokens; 0 keeps all.
        top_p: Keep the smallest set whose probability reaches p (nucleus); 1 keeps all.
        min_p: Drop tokens less likely than this share of the likeliest; 0 keeps all.
        repeat_penalty: Divides the logits of tokens seen in the last `penalty_window`; 1 is off.
        frequency_penalty: Subtracted once per occurrence in the window.
        presence_penalty: Subtracted once if it occurs in the window.
        penalty_window: Tokens looked back at.
        logit_bias: Added to the logits of token ids.
        seed: Random seed; None draws one, which `Finished` reports.
    """

    temperature: float = 0.2
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    penalty_window: int = 64
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    seed: int | None = None


GREEDY = Sampling(temperature=0.0, seed=0)


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer is one JSON value that this schema accepts."""

    schema: Mapping[str, Any]
    kind: Literal["json_schema"] = "json_schema"


@dataclass(frozen=True, slots=True)
class Regex:
    """The whole answer matches this regular expression (Rust `regex` syntax, as llguidance has it)."""

    pattern: str
    kind: Literal["regex"] = "regex"


@dataclass(frozen=True, slots=True)
class Choices:
    """The answer is one of these strings."""

    options: tuple[str, ...]
    kind: Literal["choices"] = "choices"


@dataclass(frozen=True, slots=True)
class Grammar:
    """The answer is a sentence of this grammar, in llguidance's dialect of Lark."""

    lark: str
    kind: Literal["grammar"] = "grammar"


Constraint = JsonSchema | Regex | Choices | Grammar


def new_id() -> str:
    """A fresh request id, 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Continue a context.

    Attributes:
        max_tokens: At most this many new tokens; None lets it run to the end of the context.
        stop: Strings that end the answer and are not part of it.
        top_logprobs: How many alternatives each token event carries.
        client: Whose request this is: fair share is between clients of one priority.
        adapter: Name or path of a LoRA adapter (GGUF).
        draft: Let the engine guess runs of tokens that it copies from the context.
        beams: More than 1 searches that many hypotheses at once (beam search) and returns the likeliest; its tokens
            arrive when the search has ended.
    """

    context: Context
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    constraint: Constraint | None = None
    top_logprobs: int = 0
    priority: Priority = "normal"
    client: str = ""
    adapter: str = ""
    draft: bool = True
    beams: int = 1
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Compare how likely each choice is as the continuation of a context.

    Attributes:
        baseline: A context without the question's content. Where given, each choice's log-likelihood there is
            subtracted (contextual calibration, Zhao et al. 2021, arXiv:2102.09690), which takes out the model's bias
            for a choice.
        temperature: Divides the summed log-likelihoods before the softmax (temperature scaling, Guo et al. 2017,
            arXiv:1706.04599); fit it on held-out answers.
    """

    context: Context
    choices: tuple[str, ...]
    baseline: Context | None = None
    temperature: float = 1.0
    priority: Priority = "normal"
    client: str = ""
    adapter: str = ""
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class ScoredChoice:
    """One choice of a `Score`.

    Attributes:
        logprob: Summed natural-log probability of its tokens, before any calibration.
        tokens: How many tokens it has.
        probability: Its share among the choices, after calibration; all of them add up to 1.
    """

    choice: str
    logprob: float
    tokens: int
    probability: float


@dataclass(frozen=True, slots=True)
class Scores:
    """The answer to a `Score`, in the order of its choices."""

    choices: tuple[ScoredChoice, ...]
    prompt_tokens: int = 0
    reused_tokens: int = 0

    @property
    def best(self) -> ScoredChoice:
        """The likeliest choice; the first of equals."""
        return max(self.choices, key=lambda choice: choice.probability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Microcode:
    """An adapter for the kernel's own jobs, with which a model runs.

    Attributes:
        name: For people.
        prompts: Of the forms of the prompts it was trained on.
        temperatures: For each job, what divides log-probabilities to make them worth their number.
        thresholds: By name, confidences from which on something is done.
        adapter: What requests name to have it (`Generate.adapter`); empty where it is merged into the weights.
        digest: Identifies what was trained.
    """

    name: str
    prompts: str = ""
    temperatures: Mapping[str, float] = field(default_factory=dict[str, float])
    thresholds: Mapping[str, float] = field(default_factory=dict[str, float])
    adapter: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine is.

    Attributes:
        name: The model's name, for people.
        fingerprint: Identifies the weights: equal fingerprints mean interchangeable token ids and KV state.
        context: Tokens that one sequence may have.
        vocabulary: Number of token ids, 0 where unknown.
        template: Where the chat template comes from: `gguf`, `builtin:chatml`, `remote`, `none`.
        tool_format: How tool calls are written: `generic`, `hermes`, `llama3`, `mistral`, `remote`.
        capabilities: What this engine can do; each that is missing has a fallback or raises `Unsupported`.
        details: More facts for people, in the order to show them.
        parameters: Number of weights, 0 where unknown.
        input_price, output_price: What a million tokens of a prompt, and a million generated ones, cost; 0 is free.
        microcode: What it runs with; None for none.
    """

    name: str
    fingerprint: str = ""
    context: int = 0
    vocabulary: int = 0
    template: str = "none"
    tool_format: str = "generic"
    capabilities: frozenset[Capability] = frozenset()
    details: Mapping[str, str] = field(default_factory=dict[str, str])
    parameters: int = 0
    input_price: float = 0.0
    output_price: float = 0.0
    microcode: Microcode | None = None
