"""The `think` system call: from what an agent wishes to a request to the engine, and from its answer to a thought.

What is journaled of a think is its message, its new token ids and what it cost; the context after it is rebuilt from
that, so that a resumed run needs no engine for what it has thought already. Knows no tool's insides and no model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from llmos import wire
from llmos.errors import BudgetExceeded, ConstraintError, EngineError, StorageError
from llmos.events import Finished, Token, Usage
from llmos.kernel import paging
from llmos.kernel.entry import Thought
from llmos.messages import (
    Choices,
    Constraint,
    Context,
    Generate,
    JsonSchema,
    Message,
    Sampling,
    Score,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from pydantic import BaseModel

    from llmos.events import EngineEvent
    from llmos.kernel.branch import Branch
    from llmos.kernel.protocols import Engine

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Wish:
    """What a `think` asks for; fields as its arguments."""

    prompt: str | None
    output: type[BaseModel] | None = None
    actions: tuple[str, ...] | None = None
    constraint: Constraint | None = None
    sampling: Sampling | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


async def say(branch: Branch, wish: Wish) -> Thought[Any]:
    """Generate text, an action or a value; see `Branch.think`."""
    context = _prompted(branch.context, wish.prompt)
    constraint = _constraint(branch, wish)
    sampling = wish.sampling or branch.entry.sampling

    async def work(number: int) -> dict[str, Any]:
        async def generate(view: Context, _: object) -> dict[str, Any]:
            return await _generate(branch, view, constraint, sampling, wish, number)

        bounds = [bound for bound in (wish.max_tokens, branch.entry.max_tokens) if bound is not None]
        return await paging.attempt(branch, context, min(bounds, default=None), generate)

    arguments = {
        "heard": _heard(branch, context),
        "constraint": asdict(constraint) if constraint is not None else None,
        "sampling": asdict(sampling),
        "max_tokens": wish.max_tokens,
        "stop": wish.stop,
    }
    data = await branch.call("think", _title(context), arguments, work)
    paging.settle(branch, context, data)
    message = cast("Message", wire.decode(data["message"].encode()))
    branch.context = _with(context, message, data)
    branch.told = len(branch.context.messages)
    value: Any = message.content
    if wish.output is not None:
        value = _parsed(wish.output, message.content, data["reason"])
    elif wish.actions is not None:
        value = read_action(message.content, data["reason"])
    likelihood = None if data["logprob"] is None else min(math.exp(data["logprob"]), 1.0)
    return Thought(
        value=value,
        text=message.content,
        confidence=likelihood if constraint is None else None,
        reason=data["reason"],
        usage=Usage(**data["usage"]),
        likelihood=likelihood,
    )


async def choose(
    branch: Branch, prompt: str | None, choices: tuple[str, ...], baseline: str | None, temperature: float
) -> Thought[str]:
    """Compare choices by their likelihoods; see `Branch.think`."""
    context = _prompted(branch.context, prompt)

    async def score(view: Context, shown: Callable[[Context], Context], number: int) -> dict[str, Any]:
        engine = await branch.engine()
        if "score" not in engine.info.capabilities:
            return await _choose_by_writing(branch, view, choices, number)
        bare = shown(_prompted(branch.context, baseline)) if baseline is not None else None
        request = Score(
            context=view,
            choices=choices,
            baseline=bare,
            temperature=temperature,
            priority=branch.entry.priority,
            client=branch.entry.agent,
            id=_request_id(branch, number),
        )
        _check_money(branch, engine)
        async with branch.system.place(branch, "think"):
            scores = await engine.score(request)
        read = scores.prompt_tokens - scores.reused_tokens + sum(choice.tokens for choice in scores.choices)
        branch.entry.meter.charge("tokens", read)
        usage = Usage(prompt_tokens=scores.prompt_tokens, reused_tokens=scores.reused_tokens)
        return {
            "choice": choices.index(scores.best.choice),
            "probabilities": [choice.probability for choice in scores.choices],
            "likelihoods": [min(math.exp(choice.logprob), 1.0) for choice in scores.choices],
            "money": _pay(branch, engine, usage),
            "usage": asdict(usage),
        }

    async def work(number: int) -> dict[str, Any]:
        longest = max((len(choice.encode("utf-8", "replace")) for choice in choices), default=0)
        return await paging.attempt(branch, context, longest, partial(score, number=number))

    arguments = {
        "heard": _heard(branch, context),
        "choices": choices,
        "baseline": baseline,
        "temperature": temperature,
    }
    data = await branch.call("think", _title(context), arguments, work)
    paging.settle(branch, context, data)
    chosen: int = data["choice"]
    choice = choices[chosen]
    branch.context = context.add(Message("assistant", choice))
    branch.told = len(branch.context.messages)
    probabilities: tuple[float, ...] = tuple(data["probabilities"])
    return Thought(
        value=choice,
        text=choice,
        confidence=probabilities[chosen] if probabilities else None,
        probabilities=probabilities,
        likelihoods=tuple(data.get("likelihoods", ())),
        usage=Usage(**data["usage"]),
    )


async def _choose_by_writing(branch: Branch, context: Context, choices: tuple[str, ...], number: int) -> dict[str, Any]:
    """The fallback for engines that can't score: have the model write one of the choices."""
    wish = Wish(None, sampling=Sampling(temperature=0.0))
    data = await _generate(branch, context, Choices(choices), Sampling(temperature=0.0), wish, number)
    text = cast("Message", wire.decode(data["message"].encode())).content.strip()
    matching = [index for index, choice in enumerate(choices) if choice.strip() == text]
    if not matching:
        raise ConstraintError(f"The engine answered {text[:_SHOWN]!r}, which is none of the choices.")
    return {"choice": matching[0], "probabilities": [], "money": data["money"], "usage": data["usage"]}


async def _generate(
    branch: Branch, context: Context, constraint: Constraint | None, sampling: Sampling, wish: Wish, number: int
) -> dict[str, Any]:
    """Run a request to its end within the budget; returns what is journaled of it."""
    meter, engine = branch.entry.meter, await branch.engine()
    if meter.left("tokens") < 1:
        meter.charge("tokens", 1)
    left = min(meter.left("tokens"), _check_money(branch, engine))
    bounds = [bound for bound in (wish.max_tokens, branch.entry.max_tokens, left) if bound is not None]
    request = Generate(
        context=context,
        sampling=sampling,
        max_tokens=int(min(bounds)) if min(bounds) != math.inf else None,
        stop=wish.stop,
        constraint=constraint,
        priority=branch.entry.priority,
        client=branch.entry.agent,
        id=_request_id(branch, number),
    )
    await _bring_back(branch, engine)
    finished: Finished | None = None
    async with branch.system.place(branch, "think"):
        stream = cast("AsyncGenerator[EngineEvent]", engine.generate(request))
        async with aclosing(stream) as events:
            async for event in events:
                if isinstance(event, Finished):
                    finished = event
                elif isinstance(event, Token):
                    branch.system.emit(event)
    if finished is None:
        raise EngineError("The engine ended a request without saying how it went.", hint="Try again.")
    usage = finished.usage
    branch.entry.count(usage)
    meter.charge("tokens", max(usage.prompt_tokens - usage.reused_tokens, 0) + usage.generated_tokens)
    money = _pay(branch, engine, usage)
    if finished.reason == "length" and left <= usage.generated_tokens:
        raise BudgetExceeded(
            f"The answer was cut after {usage.generated_tokens} tokens: the budget has no more.",
            hint="Give the run more tokens, or money where the engine costs some.",
        )
    return {**_journaled(context, finished), "money": money}


def _check_money(branch: Branch, engine: Engine) -> float:
    """How many tokens the money that is left can pay for; infinity where it does not matter.

    Raises:
        BudgetExceeded: None is left, and the engine costs some.
    """
    left, price = branch.entry.meter.left("money"), engine.info.output_price
    if left == math.inf or not (price or engine.info.input_price):
        return math.inf
    if left <= 0:
        raise branch.entry.meter.exceeded("money")
    return max(left * 1e6 / price, 1.0) if price else math.inf


def _pay(branch: Branch, engine: Engine, usage: Usage) -> float:
    """Charge what the engine takes for a request; tokens that it had in its cache cost as much as others."""
    info = engine.info
    cost = (usage.prompt_tokens * info.input_price + usage.generated_tokens * info.output_price) / 1e6
    branch.entry.pay(usage, cost)
    if cost:
        branch.entry.meter.charge("money", cost)
    return cost


async def _bring_back(branch: Branch, engine: Engine) -> None:
    """Restore the KV state of a checkpoint, once; where that fails, the context is read again."""
    saved, branch.saved = branch.saved, None
    if saved is not None and "save" in engine.info.capabilities:
        with suppress(StorageError):
            await engine.restore(saved)


def _journaled(before: Context, finished: Finished) -> dict[str, Any]:
    known, tokens = before.tokens, finished.context.tokens
    base = len(known) if tokens[: len(known)] == known and before.model in ("", finished.context.model) else 0
    return {
        "message": wire.encode(finished.message).decode(),
        "base": base,
        "tokens": list(tokens[base:]),
        "model": finished.context.model,
        "logprob": None if math.isnan(finished.logprob) else finished.logprob,
        "reason": finished.reason,
        "usage": asdict(finished.usage),
    }


def _with(context: Context, message: Message, data: Mapping[str, Any]) -> Context:
    tokens = (*context.tokens[: data["base"]], *data["tokens"])
    return replace(context.add(message), tokens=tokens, model=data["model"])


def _prompted(context: Context, prompt: str | None) -> Context:
    return context if prompt is None else context.add(Message("user", prompt))


def _heard(branch: Branch, context: Context) -> list[str]:
    """What is new in the context since the last think, for the journal."""
    return [wire.encode(message).decode() for message in context.messages[branch.told :]] + (
        [] if context.text is None else [context.text]
    )


def _title(context: Context) -> str:
    text = context.messages[-1].content if context.messages else context.text or ""
    return " ".join(text.split())[:_SHOWN]


def _request_id(branch: Branch, number: int) -> str:
    return f"{branch.entry.run}:{branch.path}:{number}"


def _constraint(branch: Branch, wish: Wish) -> Constraint | None:
    if wish.output is not None:
        return JsonSchema(wish.output.model_json_schema())
    if wish.actions is None:
        return wish.constraint
    forms: list[dict[str, Any]] = []
    for name in wish.actions:
        spec = branch.device(name).spec
        forms.append(
            {
                "type": "object",
                "properties": {"tool": {"const": spec.name}, "arguments": dict(spec.parameters)},
                "required": ["tool", "arguments"],
                "additionalProperties": False,
            }
        )
    return JsonSchema(forms[0] if len(forms) == 1 else {"anyOf": forms})


def read_action(text: str, reason: str) -> ToolCall:
    """The action in a model's answer, which ended for `reason`.

    Raises:
        ConstraintError: There is none, as where an engine does not keep constraints.
    """
    try:
        data = json.loads(text)
        tool, arguments = data["tool"], data["arguments"]
        if not isinstance(tool, str) or not isinstance(arguments, dict):
            raise TypeError("a tool has a name, and its arguments have names")
        return ToolCall(tool, cast("dict[str, Any]", arguments))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConstraintError(
            f"The model's action is not complete ({reason}): {text[:_SHOWN]!r}.",
            hint="Allow more tokens, or bound the lengths of the tool's arguments.",
        ) from error


def _parsed(output: type[BaseModel], text: str, reason: str) -> BaseModel:
    try:
        return output.model_validate_json(text)
    except ValueError as error:  # pydantic's ValidationError is one
        raise ConstraintError(
            f"The answer is not a {output.__name__!r} ({reason}): {str(error)[:400]}",
            hint="Allow more tokens, or put what the validator wants into the field's type or description.",
        ) from error
