"""The few llama.cpp calls the engine needs, with types and with errors instead of return codes.

Knows no requests, no scheduling and no chat. Everything here but `Model.tokenize` and `Model.piece` belongs to the one
thread that made it. Short calls go through `ctypes.PyDLL`, which keeps the GIL: handing it over and getting it back
costs more than the call, above all beside a busy Python thread. `llama_decode` and what reads files release it.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # an assertion would start gdb, for seconds, and print pages

import llama_cpp
import numpy as np
import numpy.typing as npt

from llmos.engine import amx
from llmos.engine.llama.buffers import Buffers, State
from llmos.errors import EngineClosed, EngineError, ModelInvalid, OutOfMemory
from llmos.messages import Sampling

KvType = Literal["f16", "q8_0"]
Logits = npt.NDArray[np.float32]

_SCORES_BYTES = 512 << 20  # what plain attention may take for its scores: cells × rows × heads floats
_GGML_TYPES: dict[str, int] = {"f16": 1, "q8_0": 8}
_MAX_SEQUENCES = 128  # of 256 at most; each costs an output row of `vocabulary` floats
_lib: Any = llama_cpp.llama_cpp._lib  # pyright: ignore[reportPrivateUsage]
_held: Any = ctypes.PyDLL(_lib._name)
log: deque[str] = deque(maxlen=64)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_log(level: int, text: bytes, _: object) -> None:
    if level in (3, 4):  # GGML_LOG_LEVEL_WARN, _ERROR
        log.append(text.decode("utf-8", "replace").strip())


llama_cpp.llama_log_set(_keep_log, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()
_amx = amx.keep_off()


def _short(name: str) -> Callable[..., Any]:
    """A library function called with the GIL held."""
    released = getattr(llama_cpp, name)
    function = getattr(_held, name)
    function.argtypes, function.restype = released.argtypes, released.restype
    return function  # type: ignore[no-any-return]


_get_logits = _short("llama_get_logits_ith")
_get_logits.restype = ctypes.c_void_p  # type: ignore[attr-defined]  # an address is cheaper than a POINTER object
_sample = _short("llama_sampler_sample")
_accept = _short("llama_sampler_accept")
_seq_rm = _short("llama_memory_seq_rm")
_seq_cp = _short("llama_memory_seq_cp")
_pos_max = _short("llama_memory_seq_pos_max")
_token_to_piece = _short("llama_token_to_piece")


def _reasons() -> str:
    """What llama.cpp last complained about, for error messages."""
    return "; ".join(list(log)[-3:]) or "llama.cpp gave no reason"


class Adapter:
    """A loaded LoRA adapter; freed with its model."""

    def __init__(self, model: Model, path: Path) -> None:
        self.pointer: Any = llama_cpp.llama_adapter_lora_init(model.pointer, str(path).encode())
        if not self.pointer:
            raise ModelInvalid(
                f"The adapter {str(path)!r} could not be loaded: {_reasons()}.",
                hint="It must be a GGUF LoRA adapter made for this very model.",
            )


class Model:
    """Weights and vocabulary of a GGUF file whose header has been checked before.

    Args:
        stop: Set by another thread to have loading given up, which raises `EngineClosed`.
    """

    def __init__(
        self, path: Path, *, gpu_layers: int = 0, repack: bool = True, stop: threading.Event | None = None
    ) -> None:
        stop = stop or threading.Event()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.use_extra_bufts = repack and _amx != "broken"

        def goes_on(done: float, _: object) -> bool:
            return not stop.is_set()

        params.progress_callback = callback = llama_cpp.llama_progress_callback(goes_on)
        log.clear()
        self.pointer: Any = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        del callback  # until here it had to live
        if not self.pointer and stop.is_set():
            raise EngineClosed(f"The engine was closed while it loaded {str(path)!r}.", hint="Open a new one.")
        if not self.pointer:
            raise ModelInvalid(
                f"llama.cpp could not load {str(path)!r}: {_reasons()}.",
                hint="`llmos model show` says what the file is; "
                "an unknown architecture needs a newer llama-cpp-python.",
            )
        self.vocabulary: Any = llama_cpp.llama_model_get_vocab(self.pointer)
        self.tokens: int = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        self.trained_context: int = llama_cpp.llama_model_n_ctx_train(self.pointer)
        self.heads: int = llama_cpp.llama_model_n_head(self.pointer)
        self.on_gpu = gpu_layers > 0
        self.adds_bos: bool = llama_cpp.llama_vocab_get_add_bos(self.vocabulary)
        self.bos: int = _lib.llama_vocab_bos(self.vocabulary)
        self.eos: int = _lib.llama_vocab_eos(self.vocabulary)
        self.eot: int = _lib.llama_vocab_eot(self.vocabulary)
        self._alive = threading.Lock()  # other threads tokenize: the weights must not go meanwhile
        self._pieces: dict[int, bytes] = {}
        self.controls, self.ends = self._special_tokens()

    def _special_tokens(self) -> tuple[dict[int, bytes], frozenset[int]]:
        """Tokens that steer the model, with their texts, and those that end a turn."""
        controls: dict[int, bytes] = {}
        ends: set[int] = set()
        attribute, is_end = _short("llama_vocab_get_attr"), _short("llama_vocab_is_eog")
        special = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
        for token in range(self.tokens):
            if attribute(self.vocabulary, token) & special:
                controls[token] = self.piece(token)
                if is_end(self.vocabulary, token):
                    ends.add(token)
        ends.update(token for token in (self.eos, self.eot) if token >= 0)
        return controls, frozenset(ends)

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for, a control token by its name."""
        piece = self._pieces.get(token)
        if piece is None:
            if not 0 <= token < self.tokens:
                raise EngineError(f"Token {token} is not in the vocabulary of {self.tokens} tokens.")
            with self._alive:
                self._check_open()
                piece = self._pieces[token] = self._read_piece(token)
        return piece

    def _read_piece(self, token: int, room: int = 128) -> bytes:
        buffer = ctypes.create_string_buffer(room)
        length = int(_token_to_piece(self.vocabulary, token, buffer, room, 0, True))
        return buffer.raw[:length] if length >= 0 else self._read_piece(token, -length)

    def tokenize(self, text: bytes, *, special: bool) -> list[int]:
        """Token ids of a text, without BOS. Safe from any thread."""
        room = len(text) + 8
        with self._alive:
            self._check_open()
            while True:
                ids = (llama_cpp.llama_token * room)()
                count = llama_cpp.llama_tokenize(self.vocabulary, text, len(text), ids, room, False, special)
                if count >= 0:
                    return list(ids[:count])
                room = -count

    @property
    def tokenize_address(self) -> int:
        """Where the library's `llama_tokenize` is, for other native code."""
        return ctypes.cast(_lib.llama_tokenize, ctypes.c_void_p).value or 0

    def close(self) -> None:
        """Free the weights. Contexts on it must be closed before."""
        with self._alive:
            pointer, self.pointer = self.pointer, None
            if pointer:
                llama_cpp.llama_model_free(pointer)

    def _check_open(self) -> None:
        if not self.pointer:
            raise EngineClosed("The engine is closed.", hint="Open a new one.")


class Batch:
    """Rows for one `llama_decode`: each a token at a position of one sequence."""

    def __init__(self, rows: int) -> None:
        self.capacity = rows
        self.struct = llama_cpp.llama_batch_init(rows, 0, 1)
        self.rows = 0
        self.outputs = 0

    def clear(self) -> None:
        """Start over."""
        self.rows = self.outputs = 0

    def add(self, token: int, position: int, sequence: int, *, output: bool) -> int:
        """Append one row and return its index; with `output` its logits can be read after the decode."""
        row, struct = self.rows, self.struct
        struct.token[row] = token
        struct.pos[row] = position
        struct.n_seq_id[row] = 1
        struct.seq_id[row][0] = sequence
        struct.logits[row] = output
        self.rows = row + 1
        self.outputs += output
        return row

    def close(self) -> None:
        """Free the buffers."""
        llama_cpp.llama_batch_free(self.struct)


class Processor:
    """A llama.cpp context: KV cells, sequences and the forward pass.

    Args:
        cells: Tokens all sequences together may hold; a shared token counts once (unified KV).
        rows: Most rows of one decode.
        threads: Threads for the forward pass.
        flash: Whether to use flash attention where plain attention is possible too.
    """

    sequences = _MAX_SEQUENCES

    def __init__(
        self, model: Model, *, cells: int, rows: int, threads: int, kv_type: KvType = "f16", flash: bool = False
    ) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = -(-max(cells, rows) // 256) * 256  # llama.cpp cuts the batch to a smaller context
        params.n_batch = params.n_ubatch = rows
        params.n_seq_max = _MAX_SEQUENCES
        params.n_outputs_max = max(rows, _MAX_SEQUENCES)  # llama.cpp aborts on one row more
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.swa_full = True
        params.no_perf = True
        params.type_k = params.type_v = _GGML_TYPES[kv_type]
        if flash or kv_type != "f16":
            params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        elif not model.on_gpu and params.n_ctx * rows * 4 * model.heads <= _SCORES_BYTES:
            params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        log.clear()
        self.pointer: Any = llama_cpp.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise OutOfMemory(
                f"A context of {cells:,} tokens ({kv_type}) could not be made: {_reasons()}.",
                hint="Ask for a smaller context, or set kv_type to q8_0, which halves it.",
            )
        self.model = model
        self.cells: int = llama_cpp.llama_n_ctx(self.pointer)
        self.rows, self.outputs, self.threads = rows, rows, threads
        self._memory: Any = llama_cpp.llama_get_memory(self.pointer)
        recurrent = llama_cpp.llama_model_is_recurrent(model.pointer) or llama_cpp.llama_model_is_hybrid(model.pointer)
        self.cuts_anywhere: bool = not recurrent
        self._adapter: Adapter | None = None
        self._row_type: Any = ctypes.c_float * model.tokens
        self._scratch = np.empty(model.tokens, dtype=np.float32)  # fresh arrays of this size cost page faults

    def decode(self, batch: Batch) -> int:
        """Read the batch's rows. 0: done; 1: no room in the KV cache, nothing changed; else some rows may be read."""
        batch.struct.n_tokens = batch.rows
        return int(llama_cpp.llama_decode(self.pointer, batch.struct))

    def set_threads(self, threads: int) -> None:
        """Use so many threads from the next decode on."""
        if threads != self.threads:
            self.threads = threads
            llama_cpp.llama_set_n_threads(self.pointer, threads, threads)

    def logits(self, row: int) -> Logits:
        """The logits of a row of the last decode, shape (vocabulary,), float32: a view that the next decode ends."""
        address = _get_logits(self.pointer, row)
        if not address:
            raise EngineError(f"Row {row} of the last decode has no logits.")
        return np.frombuffer(self._row_type.from_address(address), dtype=np.float32)

    def log_total(self, logits: Logits) -> float:
        """The logarithm of the sum of exponentials of a row: what turns its logits into log-probabilities."""
        peak = logits.max()
        np.subtract(logits, peak, out=self._scratch)
        np.exp(self._scratch, out=self._scratch)
        return float(peak) + math.log(float(self._scratch.sum()))

    def copy(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        """Let `target` share the cells of `source` at positions start to end."""
        _seq_cp(self._memory, source, target, start, end)

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        """Take positions start to end from a sequence; cells that nobody else shares become free."""
        _seq_rm(self._memory, sequence, start, end)

    def length(self, sequence: int) -> int:
        """One more than the last position of a sequence."""
        return int(_pos_max(self._memory, sequence)) + 1

    def save(self, sequence: int, buffers: Buffers) -> State:
        """The KV state of a sequence, as bytes in a block of `buffers`."""
        size = _lib.llama_state_seq_get_size(self.pointer, sequence)
        data = buffers.take(size)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        written = _lib.llama_state_seq_get_data(self.pointer, pointer, size, sequence)
        if written != size:
            raise EngineError(f"Saving a sequence gave {written} bytes of {size}: {_reasons()}.")
        return data

    def load(self, sequence: int, data: State) -> bool:
        """Put a saved state into an empty sequence; False if there is no room or the bytes don't fit this model."""
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return bool(_lib.llama_state_seq_set_data(self.pointer, pointer, data.size, sequence))

    def use(self, adapter: Adapter | None) -> None:
        """Make the following decodes use an adapter, or none. KV state made with another one is not valid under it."""
        if adapter is self._adapter:
            return
        pointers: Any = (llama_cpp.llama_adapter_lora_p_ctypes * 1)()
        if adapter:
            pointers[0] = adapter.pointer
        scales = (ctypes.c_float * 1)(1.0)
        if _lib.llama_set_adapters_lora(self.pointer, pointers, 1 if adapter else 0, scales) != 0:
            raise EngineError(f"The adapter could not be switched: {_reasons()}.")
        self._adapter = adapter

    def close(self) -> None:
        """Free the KV cache. The model must still be open."""
        if self.pointer:
            llama_cpp.llama_free(self.pointer)
            self.pointer = None


class Sampler:
    """A chain of llama.cpp samplers with its own random state and penalty window."""

    def __init__(self, model: Model, sampling: Sampling, seed: int) -> None:
        self.greedy = sampling.temperature <= 0
        self.penalizes = (
            sampling.repeat_penalty != 1.0 or sampling.frequency_penalty != 0.0 or sampling.presence_penalty != 0.0
        )
        self.plain_greedy = self.greedy and not self.penalizes and not sampling.logit_bias
        params = llama_cpp.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain: Any = llama_cpp.llama_sampler_chain_init(params)
        self._bias = _bias_array(sampling.logit_bias)
        for stage in self._stages(model, sampling, seed):
            llama_cpp.llama_sampler_chain_add(self._chain, stage)

    def _stages(self, model: Model, sampling: Sampling, seed: int) -> list[Any]:
        stages: list[Any] = []
        if self._bias is not None:
            stages.append(llama_cpp.llama_sampler_init_logit_bias(model.tokens, len(self._bias), self._bias))
        if self.penalizes:
            stages.append(
                llama_cpp.llama_sampler_init_penalties(
                    model.tokens,
                    sampling.penalty_window,
                    sampling.repeat_penalty,
                    sampling.frequency_penalty,
                    sampling.presence_penalty,
                )
            )
        if self.greedy:
            return [*stages, llama_cpp.llama_sampler_init_greedy()]
        if sampling.top_k > 0:
            stages.append(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1.0:
            stages.append(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0.0:
            stages.append(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
        stages.append(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        return [*stages, llama_cpp.llama_sampler_init_dist(seed % 0xFFFFFFFF)]  # that one number means a random seed

    def sample(self, processor: Processor, row: int, logits: Logits) -> int:
        """Choose a token from a row of the last decode and remember it for the penalties."""
        if self.plain_greedy:
            return int(logits.argmax())
        return int(_sample(self._chain, processor.pointer, row))

    def accept(self, tokens: Sequence[int]) -> None:
        """Count tokens towards the penalties without having sampled them."""
        if self.penalizes:
            for token in tokens:
                _accept(self._chain, token)

    def close(self) -> None:
        """Free the chain."""
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None


def _bias_array(bias: Mapping[int, float]) -> ctypes.Array[llama_cpp.llama_logit_bias] | None:
    if not bias:
        return None
    entries = [llama_cpp.llama_logit_bias(token, value) for token, value in bias.items()]
    return (llama_cpp.llama_logit_bias * len(entries))(*entries)


def log_softmax(logits: Logits) -> Logits:
    """Natural-log probabilities of logits, along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Logits = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
