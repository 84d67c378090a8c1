"""The child process of `llmos.engine.store.tune` and `attention`: requantizes a GGUF file, measures one, or both.

A process of its own, so that an assertion in llama.cpp ends this one and no other, and so that all its memory is gone
when it ends. It prints one JSON object and exits; it also exits as soon as its standard input closes, which happens
when its parent dies. It knows no cache, no candidates and no choice.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # an assertion would start a debugger and print pages

import llama_cpp
import numpy as np
import numpy.typing as npt

from llmos.engine import amx

PREFILL = 512
STREAMS = 16
ROUNDS = 3
TURNS = 20
LOGIT_ROWS = 128
# ctypes structures and pointers have no useful static types
llama: Any = llama_cpp.llama_cpp


class Failed(Exception):
    """llama.cpp said no; the message says to what."""


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: object) -> None:
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        sys.stderr.write(text.decode("utf-8", "replace"))


def quantize(source: Path, target: Path, *, ftype: int, threads: int) -> None:
    """Write `source` as `target` in another format; `ftype` is llama.cpp's `llama_ftype`."""
    params = llama.llama_model_quantize_default_params()
    params.ftype = ftype
    params.nthread = threads
    params.allow_requantize = True
    code = llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    if code != 0:
        raise Failed(f"llama_model_quantize ended with {code}")


class Rig:
    """A model with one context at a time, for measuring `llama_decode` and nothing around it."""

    def __init__(self, path: Path, *, threads: int, gpu_layers: int) -> None:
        params = llama.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.use_extra_bufts = amx.keep_off() != "broken"
        self._model = llama.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise Failed(f"llama.cpp can't load {path.name!r}")
        self._threads = threads
        self.trained = int(llama.llama_model_n_ctx_train(self._model))
        self._words = llama.llama_model_get_vocab(self._model)
        self._size = int(llama.llama_vocab_n_tokens(self._words))

    def tokens(self, text: bytes) -> list[int]:
        """The token ids of a text, with the model's own start token."""
        room = len(text)
        while True:
            buffer = (ctypes.c_int32 * room)()
            count = int(llama.llama_tokenize(self._words, text, len(text), buffer, room, True, False))
            if count >= 0:
                return list(buffer[:count])
            room = -count

    @contextmanager
    def lane(self, *, cells: int, streams: int, flash: bool | None = None) -> Generator[Lane]:
        """A fresh context of `cells` KV cells for `streams` sequences.

        Args:
            flash: Which kind of attention, over cells that all sequences share; None leaves both to llama.cpp.
        """
        params = llama.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = min(PREFILL, cells)
        params.n_seq_max = streams
        params.n_threads = params.n_threads_batch = self._threads
        if flash is not None:
            params.kv_unified = True
            params.flash_attn_type = (
                llama.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
            )
        context = llama.llama_init_from_model(self._model, params)
        if not context:
            raise Failed(f"llama.cpp can't make a context of {cells} tokens")
        batch = llama.llama_batch_init(PREFILL, 0, 1)
        try:
            yield Lane(context, batch, self._size)
        finally:
            llama.llama_batch_free(batch)
            llama.llama_free(context)

    def close(self) -> None:
        """Free the model."""
        llama.llama_model_free(self._model)


class Lane:
    """One context and the batch that feeds it."""

    def __init__(self, context: Any, batch: Any, vocabulary: int) -> None:  # noqa: ANN401  ctypes pointers
        self._context, self._batch, self._vocabulary = context, batch, vocabulary

    def clear(self) -> None:
        """Forget all sequences."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)

    def decode(self, rows: Sequence[tuple[int, int, int]], *, logits: bool) -> None:
        """One step over rows of (token, position, sequence); logits for every row, or for the last only."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for index, (token, position, sequence) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = logits or index == len(rows) - 1
        code = llama.llama_decode(self._context, batch)
        if code != 0:
            raise Failed(f"llama_decode ended with {code}")
        llama.llama_synchronize(self._context)

    def logits(self, rows: int) -> npt.NDArray[np.float32]:
        """The logits of the last step, of shape (rows, vocabulary)."""
        pointer = llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, shape=(rows * self._vocabulary,)).reshape(rows, self._vocabulary)


class Speed(NamedTuple):
    """Tokens per second: of the clock on the wall, and of processor time shared by the threads.

    The second is what the first would be if nothing else ran: on a busy machine the first says little.
    """

    wall: float
    work: float


def _fastest(lane: Lane, tokens: int, threads: int, *, prepare: Callable[[], None], job: Callable[[], None]) -> Speed:
    """The best of some rounds: what disturbs only slows down."""
    wall = work = 0.0
    for _ in range(ROUNDS):
        lane.clear()
        prepare()
        started, worked = time.perf_counter(), time.process_time()
        job()
        wall = max(wall, tokens / (time.perf_counter() - started))
        work = max(work, tokens * threads / max(time.process_time() - worked, 1e-9))
    return Speed(wall, work)


def prefill_speed(lane: Lane, tokens: Sequence[int], threads: int) -> Speed:
    """One prompt of up to 512 tokens."""
    rows = [(token, position, 0) for position, token in enumerate(tokens[:PREFILL])]
    return _fastest(lane, len(rows), threads, prepare=lambda: None, job=lambda: lane.decode(rows, logits=False))


def decode_speed(lane: Lane, tokens: Sequence[int], threads: int, *, streams: int, steps: int) -> Speed:
    """All streams together, one token of each per step. The text is given, nothing is sampled."""
    steps = min(steps, len(tokens) - 1)

    def step(position: int) -> None:
        lane.decode([(tokens[position], position, stream) for stream in range(streams)], logits=True)

    def job() -> None:
        for position in range(1, steps + 1):
            step(position)

    return _fastest(lane, streams * steps, threads, prepare=lambda: step(0), job=job)


def attention(path: Path, text: bytes, *, threads: int) -> dict[str, float]:
    """Processor seconds of a step with plain and with flash attention: of one stream, and of many with texts of their
    own. Processor time and turns, since on a busy machine the clock on the wall says little."""
    rig = Rig(path, threads=threads, gpu_layers=0)
    try:
        tokens = rig.tokens(text)
        if len(tokens) < PREFILL:
            raise Failed("the text is too short")
        figures: dict[str, float] = {}
        with (
            rig.lane(cells=1024, streams=STREAMS, flash=False) as plain,
            rig.lane(cells=1024, streams=STREAMS, flash=True) as flash,
        ):
            lanes = {"plain": plain, "flash": flash}
            for kind, streams, before in (("one", 1, 448), ("many", 12, 32)):
                for name, seconds in _steps(lanes, tokens, streams=streams, before=before).items():
                    figures[f"{kind}_{name}"] = seconds
        return figures
    finally:
        rig.close()


def _steps(lanes: Mapping[str, Lane], tokens: Sequence[int], *, streams: int, before: int) -> dict[str, float]:
    """The cheapest of some steps on each lane, in turns; each stream has read `before` tokens."""
    for lane in lanes.values():
        lane.clear()
        for stream in range(streams):
            lane.decode([(tokens[position], position, stream) for position in range(before)], logits=False)
    best = dict.fromkeys(lanes, float("inf"))
    for position in range(before, before + TURNS):
        for name, lane in lanes.items():
            started = time.process_time()
            lane.decode([(tokens[stream], position, stream) for stream in range(streams)], logits=True)
            best[name] = min(best[name], time.process_time() - started)
    return best


def perplexity(lane: Lane, tokens: Sequence[int], *, window: int) -> float:
    """exp of the mean negative log-likelihood of each token given those before it in its window."""
    total, count = 0.0, 0
    for start in range(0, len(tokens) - 1, window):
        lane.clear()
        piece = tokens[start : start + window]
        for offset in range(0, len(piece), LOGIT_ROWS):
            part = piece[offset : offset + LOGIT_ROWS]
            lane.decode([(token, offset + row, 0) for row, token in enumerate(part)], logits=True)
            targets = piece[offset + 1 : offset + 1 + len(part)]
            total += _surprise(lane.logits(len(part))[: len(targets)], targets)
            count += len(targets)
    return float(np.exp(total / max(count, 1)))


def _surprise(logits: npt.NDArray[np.float32], targets: Sequence[int]) -> float:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    norm = np.log(np.exp(shifted).sum(axis=1))
    chosen = shifted[np.arange(len(targets)), np.asarray(targets, dtype=np.int64)]
    return float((norm - chosen).sum())


def measure(path: Path, text: bytes, *, threads: int, gpu_layers: int, speed: bool, limit: int) -> dict[str, float]:
    """Speeds in tokens per second where asked for, and the perplexity of the first `limit` tokens unless that is 0."""
    rig = Rig(path, threads=threads, gpu_layers=gpu_layers)
    try:
        tokens = rig.tokens(text)
        if len(tokens) < 2:
            raise Failed("the text has no tokens in this model")
        figures: dict[str, float] = {}
        speeds: dict[str, Speed] = {}
        judged = tokens[:limit]
        window = min(rig.trained or PREFILL, max(len(judged), PREFILL))
        with rig.lane(cells=window, streams=1) as lane:
            if judged:
                figures["perplexity"] = perplexity(lane, judged, window=window)
            if speed:
                speeds["prefill"] = prefill_speed(lane, tokens[:window], threads)
                speeds["decode"] = decode_speed(lane, tokens, threads, streams=1, steps=32)
        if speed:
            with rig.lane(cells=STREAMS * 256, streams=STREAMS) as lane:
                speeds["decode16"] = decode_speed(lane, tokens, threads, streams=STREAMS, steps=12)
        for name, found in speeds.items():
            figures[name], figures[f"{name}_work"] = found
        return figures
    finally:
        rig.close()


def requantize(source: Path, target: Path, text: bytes, *, ftype: int, threads: int, limit: int) -> dict[str, float]:
    """Write `source` in another format; the perplexities of both. One process for what start-up waits for."""
    quantize(source, target, ftype=ftype, threads=threads)
    figures: dict[str, float] = {}
    for name, path in (("before", source), ("after", target)):
        found = measure(path, text, threads=threads, gpu_layers=0, speed=False, limit=limit)
        figures[name] = found["perplexity"]
    return figures


def _die_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(3)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=("quantize", "requantize", "measure", "attention"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--ftype", type=int, default=0)
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--speed", action="store_true")
    return parser.parse_args()


def _run(job: argparse.Namespace) -> dict[str, float]:
    if job.job == "quantize":
        quantize(job.source, job.target, ftype=job.ftype, threads=job.threads)
        return {}
    text = job.text.read_bytes()
    if job.job == "attention":
        return attention(job.source, text, threads=job.threads)
    if job.job == "requantize":
        return requantize(job.source, job.target, text, ftype=job.ftype, threads=job.threads, limit=job.limit)
    return measure(job.source, text, threads=job.threads, gpu_layers=job.gpu_layers, speed=job.speed, limit=job.limit)


def main() -> int:
    """Do one job; 0 and a JSON object on stdout, or 1 and the reason on stderr."""
    job = _arguments()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    llama.llama_log_set(_log, ctypes.c_void_p(0))
    started = time.perf_counter()
    try:
        figures = _run(job)
    except (Failed, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({**figures, "seconds": time.perf_counter() - started}), flush=True)
    return 0


if __name__ == "__main__":
    # no clean-up of what the process's end frees anyway: the thread at stdin would keep it waiting
    code = main()
    sys.stderr.flush()
    os._exit(code)
