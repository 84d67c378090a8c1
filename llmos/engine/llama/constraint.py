"""Decoding constraints by llguidance: what may come next, given a schema, expression, grammar or list of choices.

Checked by rejection: a sampled token is only tested (microseconds), and the mask over the vocabulary is computed
when the test fails. With temperature alone that leaves the distribution exactly as masking would have it; top-k, top-p
and min-p cut before the test too, which favours what they kept. Knows no sampling and no requests.
"""

from __future__ import annotations

from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt

from llmos.engine.grammar import NAMES, stuck, to_grammar, unusable
from llmos.engine.llama.binding import Model
from llmos.errors import ConstraintError
from llmos.messages import Constraint


class Matcher:
    """The state of one constraint after the tokens so far."""

    def __init__(self, matcher: llguidance.LLMatcher, tokens: int, constraint: Constraint) -> None:
        self._matcher = matcher
        self._tokens = tokens
        self._constraint = constraint

    @property
    def complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return self._matcher.is_stopped()

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""
        return self._matcher.validate_tokens([token]) == 1

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next, shape (vocabulary,)."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: self._tokens].astype(np.bool_)
        if not allowed.any():
            raise stuck(self._constraint, self._matcher.get_error())
        return allowed

    def consume(self, token: int) -> None:
        """Go on with a token that is allowed."""
        if not self._matcher.consume_token(token):
            raise ConstraintError(
                f"The {NAMES[self._constraint.kind]} could not be followed: {self._matcher.get_error()}.",
                hint="It is too complex or contradictory: simplify it.",
            )

    def forced(self) -> list[int]:
        """Tokens that must come next, whatever the model thinks."""
        return self._matcher.compute_ff_tokens()

    def fork(self) -> Matcher:
        """An independent copy."""
        return Matcher(self._matcher.deep_copy(), self._tokens, self._constraint)


def _tokenizer(model: Model) -> llguidance.LLTokenizer:
    """llguidance's view of a vocabulary; it marks control tokens by a byte that no text has."""
    pieces = [(b"\xff" if token in model.controls else b"") + model.piece(token) for token in range(model.tokens)]
    make: Any = llguidance.LLTokenizer
    tokenizer: llguidance.LLTokenizer = make.from_llamacpp(
        tokens=pieces,
        vocab_ptr=model.vocabulary,
        tokenize_fptr=model.tokenize_address,
        eos_token=sorted(model.ends),
        slices=None,
    )
    return tokenizer


class Constraints:
    """Makes matchers for one model's vocabulary; building it takes a fraction of a second, once."""

    def __init__(self, model: Model) -> None:
        self._tokens = model.tokens
        self._tokenizer = _tokenizer(model)

    def matcher(self, constraint: Constraint) -> Matcher:
        """A fresh matcher.

        Raises:
            ConstraintError: The schema, expression or grammar is malformed, unsupported or can't be satisfied.
        """
        try:
            grammar = to_grammar(constraint, whitespace_flexible=False)
            matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        except (UnicodeEncodeError, ValueError) as error:
            raise unusable(constraint, error) from error
        if matcher.is_error():
            raise unusable(constraint, matcher.get_error())
        return Matcher(matcher, self._tokens, constraint)
