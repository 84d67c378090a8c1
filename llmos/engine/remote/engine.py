"""The engine protocol over HTTP, for any server that speaks the OpenAI protocol.

Knows what an engine promises; how requests look, travel and are repeated is in the modules beside it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from llmos.engine.guard import check_real_model_allowed
from llmos.engine.remote import tokens
from llmos.engine.remote.address import Address
from llmos.engine.remote.answer import Clock
from llmos.engine.remote.exchange import Exchange
from llmos.engine.remote.faults import Fault
from llmos.engine.remote.files import read_context, write_context
from llmos.engine.remote.lifetime import Gate, Lifetime
from llmos.engine.remote.score import score
from llmos.engine.remote.server import Server, ServerKind, probe
from llmos.engine.remote.transport import Deadline, Timeouts, Transport
from llmos.errors import ConfigError, Unsupported
from llmos.events import EngineEvent
from llmos.messages import Constraint, Context, EngineInfo, Generate, Score, Scores

if TYPE_CHECKING:
    from llmos.engine.remote.checker import Checker

T = TypeVar("T")
_DEFAULT_TIMEOUTS = Timeouts()


class RemoteEngine:
    """A model on an OpenAI-compatible server: llama-server, vLLM, Ollama, a cloud.

    Before the first request the server is asked what it is; `connect` does it earlier. What an engine can do and a
    server can't is made up for: `fork` sends the context again, `save` writes its messages, constraints that the server
    does not know are asked for in words and checked (the tokens then come at the end, after up to three tries).
    Sampling settings that the server refuses are left out; that is logged once and stands in `info.details`.

    Args:
        base_url: Its address, such as `http://127.0.0.1:8080/v1`. An empty path becomes `/v1`.
        model: The model's name there.
        api_key: Sent as a bearer token.
        timeout: How long to wait for what.
        retries: How often a failed try is repeated, as long as no token has arrived.
        concurrency: Requests that run at once. More wait here, interactive ones first.
        kind: What the server is, where it does not tell; None asks it.
        logprobs: Ask for log-probabilities with every request: confidence is made of them.
        allow_plain_http: Send the key unencrypted to another machine.
        input_price: What a million tokens of prompts cost there; for `EngineInfo`, from which budgets are charged.
        output_price: What a million generated tokens cost there.

    Raises:
        ConfigError: The address, the key or an option can't be used.
        RealModelForbidden: Real models are forbidden here.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout: Timeouts = _DEFAULT_TIMEOUTS,
        retries: int = 3,
        concurrency: int = 16,
        kind: ServerKind | None = None,
        logprobs: bool = True,
        allow_plain_http: bool = False,
        input_price: float = 0.0,
        output_price: float = 0.0,
    ) -> None:
        if not model or retries < 0 or concurrency < 1:
            raise ConfigError(
                f"Can't use model={model!r} with retries={retries!r} and concurrency={concurrency!r}.",
                hint="A model's name is needed, no less than 0 retries and at least 1 request at once.",
            )
        self._address = Address.of(base_url, api_key=api_key, allow_plain_http=allow_plain_http)
        check_real_model_allowed(self._address.base)
        kind = kind or _known_kind(self._address)
        self._server = Server(
            model,
            self._address.base,
            kind,
            completion_tokens=kind == "openai",
            input_price=input_price,
            output_price=output_price,
        )
        self._lifetime = Lifetime(model)
        self._gate = Gate(concurrency, self._lifetime)
        self._transport = Transport(
            self._address,
            self._lifetime,
            timeouts=timeout,
            retries=retries,
            # Beside the requests some short calls run: what a server is, token ids.
            connections=concurrency + 4,
            model=model,
        )
        self._logprobs = logprobs
        self._probing: asyncio.Lock | None = None

    def __repr__(self) -> str:
        return f"RemoteEngine({self._address.base!r}, {self._server.model!r})"

    @property
    def info(self) -> EngineInfo:
        """What is known of the server now: little before `connect` or the first request."""
        return self._server.info

    async def connect(self) -> EngineInfo:
        """Ask the server what it is.

        Raises:
            RemoteError: It can't be reached.
            EngineClosed: The engine is closed.
        """
        self._lifetime.check()
        with _raising():
            await self._transport.again(self._probe, Deadline(self._transport.timeouts.total))
        return self.info

    async def generate(self, request: Generate, /) -> AsyncGenerator[EngineEvent]:
        """Continue a context.

        `Started` comes when the server has taken the request, without the prompt's length; `Finished.usage` has it
        where the server counts.

        Raises:
            EngineClosed: The engine was closed before or during the request.
            RemoteError: The server failed, or its answer is incomplete. `RemoteTimeout` if it was too slow.
            PromptTooLong: The server says that the prompt does not fit.
            ConstraintError: The constraint is malformed, or was not kept in three answers.
            Unsupported: Adapters, beams, or what this server can't do.
        """
        self._lifetime.check()
        _check_supported(request)
        checker = _checker(request.constraint)
        clock = Clock()
        seed = random.getrandbits(31) if request.sampling.seed is None else request.sampling.seed
        async with self._gate.place(request.priority):
            clock.placed = clock.since()
            with _raising():
                await self._ready()
                if request.sampling.logit_bias and self._server.kind == "ollama":
                    raise Unsupported("Ollama takes no logit_bias.", hint="Leave it away, or use another server.")
                exchange = Exchange(request, self._server, self._transport, clock, seed=seed, logprobs=self._logprobs)
                async with aclosing(exchange.events(checker)) as events:
                    async for event in events:
                        # A consumer may have been busy with the last event while the engine was closed.
                        self._lifetime.check()
                        yield event

    async def score(self, request: Score, /) -> Scores:
        """How likely each choice is: token by token at vLLM and llama-server, elsewhere only choices of a single token.

        Raises:
            Unsupported: The server does not give the log-probabilities that it takes.
            RemoteError: The server failed.
            EngineClosed: The engine was closed before or during the request.
        """
        self._lifetime.check()
        if request.adapter:
            raise _no_adapters(request.adapter)
        async with self._gate.place(request.priority):
            return await self._asked(lambda: score(request, self._server, self._transport))

    async def tokenize(self, text: str, /, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text, by llama-server.

        Raises:
            Unsupported: It is another server.
            RemoteError: The server failed.
        """
        return await self._asked(lambda: tokens.tokenize(text, self._server, self._transport, special=special))

    async def detokenize(self, ids: Sequence[int], /) -> bytes:
        """The bytes of token ids, by llama-server.

        Raises:
            Unsupported: It is another server, or they are not whole characters: those it can't tell.
            RemoteError: The server failed.
        """
        return await self._asked(lambda: tokens.detokenize(ids, self._server, self._transport))

    async def fork(self, context: Context, n: int, /) -> tuple[Context, ...]:
        """n times the same context: each branch sends it again, and the server's own prefix cache may help."""
        self._lifetime.check()
        return (context,) * n

    async def save(self, context: Context, path: Path, /) -> None:
        """Write the context's messages to a file; its KV state stays on the server and is not in there.

        Raises:
            StorageError: The file can't be written.
        """
        self._lifetime.check()
        write_context(context, path)

    async def restore(self, path: Path, /) -> Context:
        """The context that `save` wrote; its next request sends it again.

        Raises:
            StorageError: The file can't be read, or is no saved context.
        """
        self._lifetime.check()
        return read_context(path)

    async def close(self) -> None:
        """End all requests with `EngineClosed` and close the connections. A second call does nothing."""
        if self._lifetime.closed:
            return
        self._lifetime.close()
        await self._transport.close()

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        self._lifetime.check()
        with _raising():
            await self._ready()
            return await ask()

    async def _ready(self) -> None:
        """Know the server. One that can't be reached is left to the request itself, which tries again."""
        try:
            await self._probe()
        except Fault:
            self._lifetime.check()

    async def _probe(self) -> None:
        self._probing = self._probing or asyncio.Lock()
        async with self._probing:
            if not self._server.probed:
                await probe(self._transport, self._server)


@contextmanager
def _raising() -> Generator[None]:
    try:
        yield
    except Fault as fault:
        raise fault.error from fault.__cause__


def _checker(constraint: Constraint | None) -> Checker | None:
    if constraint is None:
        return None
    from llmos.engine.remote.checker import Checker

    return Checker(constraint)


def _known_kind(address: Address) -> ServerKind:
    return "openai" if address.host == "api.openai.com" else "other"


def _check_supported(request: Generate) -> None:
    if request.adapter:
        raise _no_adapters(request.adapter)
    if request.beams > 1:
        raise Unsupported("A remote engine has no beam search.", hint="Use a local model, or ask for several answers.")


def _no_adapters(adapter: str) -> Unsupported:
    return Unsupported(
        f"A remote engine can't choose the adapter {adapter!r} for a request.",
        hint="vLLM serves each adapter as a model: open a RemoteEngine with its name as the model.",
    )
