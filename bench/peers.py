"""Who the engine is measured against or beside: llama-cpp-python's `Llama`, and an embedding model in this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import llama_cpp

from bench.rig import prose
from llmos.memory.embedding import find_model


def generate_with_llama(peer: llama_cpp.Llama, tokens: list[int], count: int) -> float:
    """Tokens a second of `Llama.generate`, greedy, after a prompt."""
    peer.reset()  # type: ignore[no-untyped-call]  # llama-cpp-python gives it no types
    stream = peer.generate(tokens, temp=0.0, top_k=1, repeat_penalty=1.0)
    next(stream)
    start = time.perf_counter()
    for _ in range(count):
        next(stream)
    return count / (time.perf_counter() - start)


def converse_with_llama(peer: llama_cpp.Llama, fresh: Callable[[int], str], words: int, tokens: int) -> float:
    """Three interleaved conversations of five turns with `Llama`: mean seconds to the first token of turn 5.

    Args:
        words: Of each message.
        tokens: Of each answer.
    """
    conversations: list[list[Any]] = [[{"role": "system", "content": fresh(60)}] for _ in range(3)]
    firsts: list[float] = []
    for turn in range(5):
        for messages in conversations:
            messages.append({"role": "user", "content": fresh(words)})
            start = time.perf_counter()
            first, answer = 0.0, ""
            chunks: Any = peer.create_chat_completion(messages, stream=True, max_tokens=tokens, temperature=0.0)
            for chunk in chunks:
                piece = chunk["choices"][0]["delta"].get("content")
                if piece:
                    first = first or time.perf_counter() - start
                    answer += piece
            messages.append({"role": "assistant", "content": answer})
            if turn == 4:
                firsts.append(first)
    return statistics.mean(firsts)


def embedder() -> Callable[[], None]:
    """A function that embeds 1,000 short texts with MiniLM on torch."""
    from sentence_transformers import SentenceTransformer

    model: Any = SentenceTransformer(str(find_model().path), device="cpu")
    texts = [prose(24, salt=number) for number in range(1000)]

    def embed() -> None:
        model.encode(texts, batch_size=32, show_progress_bar=False)

    return embed
