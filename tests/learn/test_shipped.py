"""The adapter that ships: it fits the embedded model, the forms of the prompts, and the size of the package."""

from __future__ import annotations

import pytest

from llmos.agents import jobs
from llmos.engine import adapters
from llmos.engine.store import builtin, microcode

MOST_BYTES = 12_000_000


@pytest.mark.skipif(not microcode.SHIPPED.is_file(), reason="no microcode ships yet")
def test_the_shipped_adapter_is_for_the_embedded_model_and_todays_prompts() -> None:
    notes = adapters.check_fits(microcode.SHIPPED, builtin.find().path)
    assert notes.prompts == jobs.fingerprint(), "the kernel asks in other words than it was trained on: train it again"
    assert adapters.read(microcode.SHIPPED).pairs
    assert microcode.SHIPPED.stat().st_size <= MOST_BYTES
    assert microcode.chosen(builtin.find().path) == microcode.SHIPPED
