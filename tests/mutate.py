"""Inputs for parsers and readers: sound ones with damage, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutate_text(chance: random.Random, samples: Sequence[str], words: Sequence[str]) -> str:
    """A sample with some pieces cut out, doubled, swapped, or with words put in that a grammar knows."""
    text = chance.choice(samples)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice((0, 1, 1, 2, 5, 20)))
        match chance.randrange(6):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:end] + text[start:]
            case 2 | 3:
                text = text[:start] + chance.choice(words) + text[end:]
            case 4:
                text = text[:start] + chance.choice(samples)[-chance.randint(1, 40) :]
            case _:
                text = text[:start]
    return text


def mutate_bytes(chance: random.Random, data: bytes) -> bytes:
    """Data with some bytes changed, a piece cut out, doubled or zeroed, or its end gone."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not damaged:
            break
        start = chance.randrange(len(damaged))
        end = min(len(damaged), start + chance.choice((1, 1, 2, 8, 100, 4096)))
        match chance.randrange(7):
            case 0 | 1:
                damaged[start] ^= 1 << chance.randrange(8)
            case 2:
                damaged[start] = chance.choice((0, 1, 127, 128, 255))
            case 3:
                damaged[start:end] = chance.randbytes(end - start)
            case 4:
                damaged[start:end] = bytes(end - start)
            case 5:
                other = chance.randrange(len(damaged))
                damaged[start:end] = damaged[other : other + end - start]
            case _:
                if chance.random() < 0.3:
                    del damaged[start:end]
                else:
                    damaged[start] = (damaged[start] + chance.choice((-1, 1))) % 256
    return bytes(damaged)
