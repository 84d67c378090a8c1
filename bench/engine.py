"""`python -m bench engine`: the processor against the bare lower level, llama-cpp-python, and itself without its ideas.

All on the embedded model, every pair in one run, medians of five.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import llama_cpp

from bench import against_server, peers
from bench.report import REPEATS, Pairs, Row, paired
from bench.rig import (
    Bare,
    busy_python,
    collect,
    engine,
    exactly,
    fresh,
    never_end,
    prose,
    run,
    shipped,
    streams,
    text,
    threads,
    together,
    tuned,
)
from bench.startup import help_seconds, prompt_seconds
from llmos.engine.gguf import read_header
from llmos.engine.hardware import detect
from llmos.engine.llama.engine import LlamaEngine, LlamaOptions
from llmos.engine.llama.tree import as_tokens
from llmos.engine.store.tune import measure
from llmos.engine.threads import in_background
from llmos.messages import Context, Generate, JsonSchema, Message, Sampling


def single_stream() -> list[Row]:
    """One stream against the bare loop and against llama-cpp-python's own class, all on one thread in turn.

    Each thread that computes has OpenMP threads of its own, and more of them than cores slow down everybody; hence the
    peers run on the engine's thread.
    """
    count = 96
    bare = Bare(tuned(), threads=threads())
    peer = llama_cpp.Llama(str(tuned()), n_ctx=4096, n_threads=threads(), n_threads_batch=threads(), verbose=False)
    prompt = prose(64)
    tokens = bare.model.tokenize(prompt.encode(), special=False)

    with engine() as ours:

        def by_llmos() -> float:
            gaps = run(collect(ours, text(prompt, count))).gaps
            return len(gaps) / sum(gaps)

        def by_loop() -> float:
            return run(ours.on_worker(lambda: bare.decode(tokens, count)))

        def by_llama() -> float:
            return run(ours.on_worker(lambda: peers.generate_with_llama(peer, tokens, count)))

        against_bare = paired(by_llmos, by_loop)
        against_llama = paired(by_llmos, by_llama)
    bare.close()
    peer.close()
    return [
        against_bare.row("one stream, decode", "tok/s", "bare llama_decode loop", "≥ 0.97"),
        against_llama.row("one stream, decode", "tok/s", "llama_cpp.Llama", "≥ 1.10"),
    ]


def requantized_default() -> list[Row]:
    """The embedded model as `tune` chose it against the file as it is shipped."""
    ours, peer = Bare(tuned(), threads=threads()), Bare(shipped(), threads=threads())
    tokens = ours.model.tokenize(prose(700).encode(), special=False)[:512]
    prefill = paired(lambda: 512 / ours.prefill(tokens), lambda: 512 / peer.prefill(tokens))
    decode = paired(lambda: ours.decode_many(16, 24), lambda: peer.decode_many(16, 24))
    ours.close()
    peer.close()
    before, after = _perplexity(shipped()), _perplexity(tuned())
    worse = Row(
        name="embedded default, perplexity",
        value=after,
        unit="",
        peer="as shipped",
        peer_value=before,
        ratio=after / before,
        goal="≤ 1.02",
    )
    return [
        prefill.row("embedded default, prefill", "tok/s", "as shipped", "≥ 2.1×"),
        decode.row("embedded default, 16 streams", "tok/s", "as shipped", "≥ 1.3×"),
        worse,
    ]


def _perplexity(path: Path) -> float:
    return measure(read_header(path), path, limit=1700, speed=False, hardware=detect())["perplexity"]


def sixteen_streams() -> list[Row]:
    """Total throughput of 16 streams against one."""
    with engine() as ours:

        def many() -> float:
            start = time.perf_counter()
            runs = run(together(ours, [text(fresh(16), 32) for _ in range(16)]))
            return sum(len(one.times) for one in runs) / (time.perf_counter() - start)

        def one() -> float:
            start = time.perf_counter()
            done = run(collect(ours, text(fresh(16), 32)))
            return len(done.times) / (time.perf_counter() - start)

        return [paired(many, one).row("16 streams together", "tok/s", "1 stream", "≥ 2.3×")]


def shared_prefix() -> list[Row]:
    """Eight agents at once on a 1,000-token prefix: mean time to first token."""

    def burst(ours: LlamaEngine, prefix: str) -> float:
        requests = [text(f"{prefix}\nAgent {number}: what now?", 4) for number in range(8)]
        return statistics.mean(one.first for one in run(together(ours, requests)))

    seconds: dict[str, list[float]] = {"off": [], "cold": [], "warm": []}
    with engine(options=LlamaOptions(cells=16384)) as ours:
        tree = ours.worker.tree
        for _ in range(REPEATS):
            prefix = fresh(1000)
            tree.shares = False
            seconds["off"].append(burst(ours, prefix))
            tree.shares = True
            seconds["cold"].append(burst(ours, prefix))
            seconds["warm"].append(burst(ours, prefix))
            run(ours.on_worker(tree.forget))
    return [
        Pairs(tuple(seconds[state]), tuple(seconds["off"])).row(
            f"8 agents, 1,000-token prefix, {state}", "s", "sharing off", goal, note="mean time to first token"
        )
        for state, goal in (("cold", "≤ 0.24"), ("warm", "≤ 0.06"))
    ]


def swapping() -> list[Row]:
    """4k tokens out of the cells and back, against reading them again."""
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        for place, ram, goal in (("RAM", 1 << 30, "≤ 0.005"), ("disk", 0, "≤ 0.01")):
            options = LlamaOptions(cells=8192, swap_folder=Path(folder), swap_ram_bytes=ram)
            with engine(options=options) as ours:
                read: list[float] = []
                moved: list[float] = []
                for _ in range(REPEATS):
                    prompt = fresh(4200)
                    tokens = list(run(ours.tokenize(prompt)))[:4096]
                    read.append(run(collect(ours, Generate(context=_known(ours, tokens), max_tokens=1))).first)
                    moved.append(run(_swap_out_and_in(ours, tokens)))
                value, peer = statistics.median(moved), statistics.median(read)
                rows.append(
                    Row(
                        name=f"swap 4k tokens out and in, {place}",
                        value=value * 1000,
                        unit="ms",
                        peer="re-prefill",
                        peer_value=peer * 1000,
                        ratio=value / peer,
                        goal=goal,
                    )
                )
    return rows


def _known(ours: LlamaEngine, tokens: list[int]) -> Context:
    return run(_as_context(ours, tokens))


async def _as_context(ours: LlamaEngine, tokens: list[int]) -> Context:
    plain = (await ours.detokenize(tokens)).decode("utf-8", "replace")
    return Context(text=plain, tokens=tuple(tokens), model=ours.info.fingerprint)


async def _swap_out_and_in(ours: LlamaEngine, tokens: list[int]) -> float:
    worker = ours.worker

    def work() -> float:
        start = time.perf_counter()
        worker.tree.make_room(worker.tree.capacity)
        worker.tree.swap.flush()
        lease = worker.tree.lease()
        assert lease is not None
        length = worker.tree.acquire(lease, as_tokens(tokens))
        seconds = time.perf_counter() - start
        worker.tree.release(lease)
        worker.tree.forget()
        assert length >= len(tokens) - 1, f"only {length} tokens came back"
        return seconds

    return await ours.on_worker(work)


def conversations() -> list[Row]:
    """Three interleaved conversations: time to first token at turn 5, with long messages and with long answers.

    The new message is read in any case: the less of the conversation it is, the more it helps to keep the rest.
    """
    peer = llama_cpp.Llama(str(tuned()), n_ctx=8192, n_threads=threads(), n_threads_batch=threads(), verbose=False)
    rows: list[Row] = []
    with engine() as ours:
        for words, tokens in ((60, 16), (15, 64)):

            def by_llmos(words: int = words, tokens: int = tokens) -> float:
                return run(_converse(ours, words, tokens))

            def by_llama(words: int = words, tokens: int = tokens) -> float:
                return run(ours.on_worker(lambda: peers.converse_with_llama(peer, fresh, words, tokens)))

            pairs = paired(by_llmos, by_llama)
            name = f"3 interleaved conversations, first token of turn 5, messages of {words} words, answers of {tokens}"
            rows.append(pairs.row(name, "s", "llama_cpp.Llama", "≤ 0.12"))
    peer.close()
    return rows


async def _converse(ours: LlamaEngine, words: int, tokens: int) -> float:
    contexts = [Context(messages=(Message("system", fresh(60)),)) for _ in range(3)]
    firsts: list[float] = []
    for turn in range(5):
        for number, context in enumerate(contexts):
            asked = context.add(Message("user", fresh(words)))
            request = Generate(context=asked, max_tokens=tokens, sampling=Sampling(temperature=0))
            done = await collect(ours, request)
            contexts[number] = done.finished.context
            if turn == 4:
                firsts.append(done.first)
    return statistics.mean(firsts)


def long_prompt_beside_a_stream() -> list[Row]:
    """The worst gap of a stream while a 2,560-token prompt arrives, and what that costs the prompt."""
    with engine() as ours:
        gaps: list[float] = []
        rates: list[float] = []
        free: list[float] = []
        for _ in range(REPEATS):
            free.append(2560 / run(collect(ours, text(_exactly(ours, 2560), 1))).first)
            gap, rate = run(_gap(ours, text(_exactly(ours, 2560), 1)))
            gaps.append(gap)
            rates.append(rate)
    gap, share = statistics.median(gaps), statistics.median(rate / one for rate, one in zip(rates, free, strict=True))
    return [
        Row(name="worst gap of a stream while 2,560 tokens arrive", value=gap, unit="s", goal="≤ 0.7"),
        Row(
            name="prefill rate beside that stream",
            value=statistics.median(rates),
            unit="tok/s",
            peer="unhindered",
            peer_value=statistics.median(free),
            ratio=share,
            goal="≥ 0.6",
        ),
    ]


def _exactly(ours: LlamaEngine, count: int) -> str:
    return run(ours.detokenize(run(exactly(ours, count)))).decode("utf-8", "replace")


async def _gap(ours: LlamaEngine, prompt: Generate) -> tuple[float, float]:
    """Worst gap of a running stream from a prompt's arrival to its first token, and the prompt's tokens a second."""
    stamps: list[float] = []
    begun = asyncio.Event()

    def mark(count: int) -> None:
        stamps.append(time.perf_counter())
        if count == 8:
            begun.set()

    request = text(fresh(16), 2000, sampling=Sampling(seed=1, temperature=1.0, logit_bias=never_end(ours)))
    stream = asyncio.ensure_future(collect(ours, request, each=mark))
    await begun.wait()
    arrived = time.perf_counter()
    done = await collect(ours, prompt)
    await asyncio.sleep(0.2)
    stream.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stream
    seen = [stamp for stamp in stamps if stamp >= arrived - 0.1]
    return max(later - earlier for earlier, later in itertools.pairwise(seen)), 2560 / done.first


def constraint() -> list[Row]:
    """A sampled token under a JSON schema against a free one."""
    schema = JsonSchema(
        {
            "type": "array",
            "minItems": 40,
            "maxItems": 40,
            "items": {"type": "string", "minLength": 12, "maxLength": 40},
        }
    )
    with engine() as ours:

        def per_token(request: Callable[[], Generate]) -> float:
            done = run(collect(ours, request()))
            usage = done.finished.usage
            return (usage.seconds - usage.first_token_seconds) / max(
                usage.generated_tokens - usage.drafted_tokens - 1, 1
            )

        prompt = "A list of short sentences about animals as JSON:"
        bound = paired(
            lambda: per_token(lambda: text(prompt, 128, constraint=schema)) * 1000,
            lambda: per_token(lambda: text(prompt, 128, sampling=Sampling(temperature=1.0, seed=3))) * 1000,
        )
    return [bound.row("sampled token under a JSON schema", "ms", "unconstrained", "≤ 1.05")]


def beside_python() -> list[Row]:
    """Step time beside a thread that only runs Python: with all cores, where it takes one from the engine, and with one
    core left to it, where only the interpreter's lock is in the way."""
    rows: list[Row] = []
    for name, count in (("all threads", None), ("a core left to it", threads() - 1)):
        if count == 0:
            continue
        with engine(options=LlamaOptions(cells=8192, threads=count)) as ours:

            def quiet(ours: LlamaEngine = ours) -> float:
                return statistics.mean(run(collect(ours, text(prose(32), 48))).gaps) * 1000

            def busy(quiet: Callable[[], float] = quiet) -> float:
                with busy_python():
                    return quiet()

            rows.append(paired(busy, quiet).row(f"step beside a busy Python thread, {name}", "ms", "alone", "≤ 1.15"))
    return rows


def beside_embedding() -> list[Row]:
    """A stream while 1,000 texts are embedded in the same process."""
    embed = peers.embedder()
    with engine() as ours:
        run(collect(ours, text(prose(32), 64)))
        alone = [run(_step_milliseconds(ours)) for _ in range(REPEATS)]
        beside = run(_while_embedding(ours, embed))
    value, peer = statistics.median(beside), statistics.median(alone)
    return [
        Row(
            name="step of a stream while 1,000 texts are embedded",
            value=value,
            unit="ms",
            peer="alone",
            peer_value=peer,
            ratio=value / peer,
            goal="≤ 1.5",
        )
    ]


async def _step_milliseconds(ours: LlamaEngine) -> float:
    return statistics.mean((await collect(ours, text(prose(32), 64))).gaps) * 1000


async def _while_embedding(ours: LlamaEngine, embed: Callable[[], None]) -> list[float]:
    work = asyncio.ensure_future(in_background(embed))
    await asyncio.sleep(0.2)
    steps: list[float] = []
    while not work.done():
        steps.append(await _step_milliseconds(ours))
    await work
    return steps


def interactive_beside_background() -> list[Row]:
    """Time to first token of a person's request with 15 background streams running, against idle."""
    with engine() as ours:

        async def ask() -> float:
            return (await collect(ours, text(fresh(40), 2, priority="interactive"))).first * 1000

        async def crowded() -> float:
            background = [
                text(fresh(16), 400, sampling=Sampling(seed=number, temperature=1.0), priority="background")
                for number in range(15)
            ]
            async with streams(ours, background):
                return await ask()

        pairs = paired(lambda: run(crowded()), lambda: run(ask()))
    return [pairs.row("interactive first token beside 15 background streams", "ms", "idle", "≤ 2")]


def start_up() -> list[Row]:
    """How soon the command line answers."""
    helps = statistics.median(help_seconds() for _ in range(REPEATS))
    prompts = statistics.median(prompt_seconds() for _ in range(REPEATS))
    return [
        Row(name="llmos --help", value=helps, unit="s", goal="< 0.2"),
        Row(name="REPL prompt on screen", value=prompts, unit="s", goal="< 0.4"),
    ]


GROUPS = (
    single_stream,
    requantized_default,
    sixteen_streams,
    shared_prefix,
    swapping,
    conversations,
    long_prompt_beside_a_stream,
    constraint,
    beside_python,
    beside_embedding,
    interactive_beside_background,
    start_up,
    *against_server.GROUPS,
)
