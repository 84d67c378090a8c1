"""An engine without a model, for tests: it answers from a script, always the same way.

Knows nothing of llama.cpp, chat templates or files of models. It keeps the whole contract of
`llmos.kernel.protocols.Engine`: token ids, reused prefixes, stop strings, limits, cancellation, errors.

What is made up, and how:

- A token is a piece of up to 6 bytes: a word with the space before it, longer words in several pieces. Its id is the
  number that those bytes are after a leading 1 byte, so ids are the same in every process and need no vocabulary.
- Every token has the log-probability of its `Reply`. Among the `top` it comes first, with probability p; alternative k
  (from 1) has the text ` alt<k>` and the probability (1 - p) / 2**k.
- Times are not measured: token n (from 0) comes `(n + 1) * seconds_per_token` seconds after its request.
- Sampling, constraints, adapters, drafts and beams are recorded in `requests` and otherwise ignored.
- A prompt has the tokens of its messages and one for each role, and one for the answer's role.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from llmos.engine.guard import forbid_real_models
from llmos.engine.script import (
    Plan,
    Reply,
    Step,
    alternatives,
    bytes_of,
    encode,
    last_words,
    plan_of,
    prefix_hashes,
    prompt_tokens,
    tokens_of,
)
from llmos.errors import EngineClosed, EngineError, PromptTooLong, StorageError, Unsupported
from llmos.events import EngineEvent, Finished, Started, Token, Usage
from llmos.messages import (
    Capability,
    Context,
    EngineInfo,
    Generate,
    Microcode,
    Score,
    ScoredChoice,
    Scores,
)

__all__ = ["Reply", "ScriptedEngine", "bytes_of", "forbid_real_models", "tokens_of"]

_CLOSING_SECONDS = 0.05  # a pause notices within this that the engine was closed
_CAPABILITIES: frozenset[Capability] = frozenset(
    {"constrain", "fork", "logprobs", "priorities", "save", "score", "tokenize", "tools"}
)


Answer = Reply | str
Script = Answer | Sequence[Answer] | Mapping[str, Answer] | Callable[[Generate], Answer]
ScoreScript = Mapping[str, float] | Callable[[Score], Sequence[float]]


class ScriptedEngine:
    """An engine that answers from a script.

    Args:
        replies: What to answer: one reply for every request; a sequence, used in turn; a mapping from the last
            message's content (or the raw text of a context) to the reply; or a function of the request.
        name: The name it goes by; also decides its fingerprint.
        context: Tokens that prompt and answer may have together.
        seconds_per_token: How long each token takes.
        scores: Log-probability of each choice of a `Score`: a table, or a function of the request that returns one
            number per choice. Without it all choices are equally likely. They count as calibrated: `Score.baseline`
            changes nothing.
        capabilities: What it claims to be able to do; what is missing raises `Unsupported`.
        microcode: The microcode that it claims to have.

    Attributes:
        requests: Every `Generate` it got, in order.
        score_requests: Every `Score` it got, in order.
        cancelled: Ids of the requests whose stream was closed before its end.
        active: How many streams run now.
    """

    def __init__(
        self,
        replies: Script,
        *,
        name: str = "scripted",
        context: int = 4096,
        seconds_per_token: float = 0.0,
        scores: ScoreScript | None = None,
        capabilities: frozenset[Capability] = _CAPABILITIES,
        microcode: Microcode | None = None,
    ) -> None:
        self.requests: list[Generate] = []
        self.score_requests: list[Score] = []
        self.cancelled: list[str] = []
        self.active = 0
        self._replies = replies
        self._next_reply = 0
        self._scores = scores
        self._seconds_per_token = seconds_per_token
        self._read: set[int] = set()
        self._closed = threading.Event()
        self._info = EngineInfo(
            name=name,
            fingerprint=f"scripted:{name}",
            context=context,
            capabilities=capabilities,
            microcode=microcode,
        )

    @property
    def info(self) -> EngineInfo:
        """What it claims to be."""
        return self._info

    async def generate(self, request: Generate, /, *, prefix: tuple[int, ...] = ()) -> AsyncGenerator[EngineEvent]:
        """Stream the next scripted reply.

        Args:
            request: The request.
            prefix: Token ids of this answer that were generated before: events come only for what follows them,
                `Finished` covers all. Needs a script that gives the same reply again (a mapping or a function).

        Raises:
            EngineClosed: It is closed, or was closed meanwhile.
            EngineError: The script has no reply for this request, or its reply does not begin with `prefix`.
            PromptTooLong: The prompt leaves no room for a token.
        """
        self._check_open()
        self.requests.append(request)
        prompt = self._prompt(request.context)
        reused = min(self._known(prompt), len(prompt) - 1)
        reply = self._reply(request)
        plan = plan_of(reply, request, room=self._info.context - len(prompt))
        ids = tuple(step.token for step in plan.steps)
        if ids[: len(prefix)] != prefix:
            raise EngineError(
                f"Can't continue request {request.id!r}: its scripted reply does not begin with the tokens given."
            )
        self.active += 1
        try:
            yield Started(request=request.id, prompt_tokens=len(prompt), reused_tokens=reused)
            self._remember(prompt)
            for index in range(len(prefix), len(plan.steps)):
                await self._pause(request.id)
                yield self._event(request, reply, index, plan.steps[index])
            self._remember(prompt + ids)
            self._check_open()
            if reply.error is not None and plan.reason in ("stop", "tool_calls"):
                raise reply.error
            yield self._finished(request, reply, plan, prompt + ids, reused)
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled.append(request.id)
            raise
        finally:
            self.active -= 1

    async def score(self, request: Score, /) -> Scores:
        """Scripted probabilities, made into shares with a softmax at the request's temperature."""
        self._check_open()
        self._need("score")
        self.score_requests.append(request)
        prompt = self._prompt(request.context)
        reused = min(self._known(prompt), len(prompt) - 1)
        self._remember(prompt)
        logprobs = self._logprobs(request)
        top = max(logprobs, default=0.0)
        weights = [math.exp((value - top) / request.temperature) for value in logprobs]
        choices = tuple(
            ScoredChoice(choice, logprob, len(tokens_of(encode(choice))), weight / sum(weights))
            for choice, logprob, weight in zip(request.choices, logprobs, weights, strict=True)
        )
        return Scores(choices, prompt_tokens=len(prompt), reused_tokens=reused)

    async def tokenize(self, text: str, /, *, special: bool = False) -> tuple[int, ...]:
        """The ids of a text's pieces. There are no control tokens, so `special` changes nothing."""
        self._check_open()
        self._need("tokenize")
        return tokens_of(encode(text))

    async def detokenize(self, tokens: Sequence[int], /) -> bytes:
        """The bytes of token ids."""
        self._check_open()
        self._need("tokenize")
        return bytes_of(tokens)

    async def fork(self, context: Context, n: int, /) -> tuple[Context, ...]:
        """n branches; their prompt counts as read."""
        self._check_open()
        self._need("fork")
        prompt = self._prompt(context)
        self._remember(prompt)
        return (replace(context, tokens=prompt, model=self._info.fingerprint),) * n

    async def save(self, context: Context, path: Path, /) -> None:
        """Write the context itself to a file: there is no state to keep."""
        from llmos import wire

        self._check_open()
        self._need("save")
        kept = replace(context, tokens=self._prompt(context), model=self._info.fingerprint)
        try:
            path.write_bytes(wire.encode(kept))
        except OSError as error:
            raise StorageError(f"Can't save a context to {str(path)!r}: {error}.") from error

    async def restore(self, path: Path, /) -> Context:
        """Read a context that `save` wrote; its prompt counts as read."""
        from llmos import wire

        self._check_open()
        self._need("save")
        try:
            context = wire.decode(path.read_bytes())
        except (OSError, EngineError) as error:
            raise StorageError(f"Can't restore a context from {str(path)!r}: {error}") from error
        if not isinstance(context, Context) or context.model != self._info.fingerprint:
            raise StorageError(f"Can't restore a context from {str(path)!r}: another engine saved it.")
        self._remember(context.tokens)
        return context

    async def pulse(self) -> None:
        """Return at once."""

    async def close(self) -> None:
        """End all requests with `EngineClosed`."""
        self._closed.set()

    def _check_open(self, request: str = "") -> None:
        if self._closed.is_set():
            during = f" during request {request!r}" if request else ""
            raise EngineClosed(f"The scripted engine {self._info.name!r} was closed{during}.")

    def _need(self, capability: Capability) -> None:
        if capability not in self._info.capabilities:
            raise Unsupported(f"The scripted engine {self._info.name!r} lacks the capability {capability!r}.")

    async def _pause(self, request: str) -> None:
        if self._seconds_per_token > 0:
            loop = asyncio.get_running_loop()
            until = loop.time() + self._seconds_per_token
            while not self._closed.is_set() and (left := until - loop.time()) > 0:
                await asyncio.sleep(min(left, _CLOSING_SECONDS))
        else:
            await asyncio.sleep(0)
        self._check_open(request)

    def _prompt(self, context: Context) -> tuple[int, ...]:
        tokens = prompt_tokens(context)
        if len(tokens) >= self._info.context:
            raise PromptTooLong(
                f"The prompt has {len(tokens)} tokens; the context of {self._info.name!r} holds {self._info.context}, "
                "the answer included.",
                hint="Shorten the conversation or use a longer context.",
            )
        return tokens

    def _remember(self, tokens: Sequence[int]) -> None:
        self._read.update(prefix_hashes(tokens))

    def _known(self, tokens: Sequence[int]) -> int:
        """Length of the longest prefix that was read before."""
        for length, digest in enumerate(prefix_hashes(tokens)):
            if digest not in self._read:
                return length
        return len(tokens)

    def _reply(self, request: Generate) -> Reply:
        answer = self._answer(request)
        return Reply(answer) if isinstance(answer, str) else answer

    def _answer(self, request: Generate) -> Answer:
        replies = self._replies
        if isinstance(replies, Reply | str):
            return replies
        if callable(replies):
            return replies(request)
        if isinstance(replies, Mapping):
            asked = last_words(request.context)
            if asked not in replies:
                raise EngineError(
                    f"The script of {self._info.name!r} has no reply to {asked!r}.", hint="Add it to `replies`."
                )
            return replies[asked]
        if self._next_reply >= len(replies):
            raise EngineError(
                f"The script of {self._info.name!r} has {len(replies)} replies and was asked for one more, "
                f"to {last_words(request.context)!r}.",
                hint="Add a reply, or find out why there was one request more than the test expects.",
            )
        self._next_reply += 1
        return replies[self._next_reply - 1]

    def _event(self, request: Generate, reply: Reply, index: int, step: Step) -> Token:
        return Token(
            request=request.id,
            index=index,
            token=step.token,
            text=step.text,
            logprob=reply.logprob,
            seconds=(index + 1) * self._seconds_per_token,
            channel=step.channel,
            top=alternatives(step.token, reply.logprob, request.top_logprobs),
        )

    def _finished(self, request: Generate, reply: Reply, plan: Plan, tokens: tuple[int, ...], reused: int) -> Finished:
        generated = len(plan.steps)
        text = request.context.text
        said = request.context.add(plan.message) if text is None else Context(text=text + plan.message.content)
        context = replace(said, tokens=tokens, model=self._info.fingerprint)
        return Finished(
            request=request.id,
            reason=plan.reason,
            message=plan.message,
            context=context,
            logprob=reply.logprob if any(step.channel == "answer" for step in plan.steps) else math.nan,
            seed=request.sampling.seed or 0,
            usage=Usage(
                prompt_tokens=len(tokens) - generated,
                reused_tokens=reused,
                generated_tokens=generated,
                first_token_seconds=self._seconds_per_token if generated else 0.0,
                seconds=generated * self._seconds_per_token,
            ),
        )

    def _logprobs(self, request: Score) -> Sequence[float]:
        scores = self._scores
        if not request.choices:
            return []
        if scores is None:
            return [-math.log(len(request.choices))] * len(request.choices)
        if callable(scores):
            values = scores(request)
            if len(values) != len(request.choices):
                raise EngineError(f"The score script gave {len(values)} values for {len(request.choices)} choices.")
            return values
        missing = [choice for choice in request.choices if choice not in scores]
        if missing:
            raise EngineError(f"The score script has no value for {missing!r}.", hint="Add it to `scores`.")
        return [scores[choice] for choice in request.choices]
