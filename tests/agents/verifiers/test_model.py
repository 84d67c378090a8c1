"""The verifiers that think, on the embedded model: it judges at all, and says how sure it is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llmos.agents.calibration import KINDS, calibration_of
from llmos.agents.microcode import fitting
from llmos.agents.verifiers import consistent, judge, recomputed
from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.kernel.protocols import Engine
from tests.agents.verifiers.conftest import Place

pytestmark = pytest.mark.model


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    opened = await open_engine(None, EngineOptions())
    yield opened
    await opened.close()


async def test_the_embedded_model_is_calibrated_and_its_verdicts_have_a_confidence(place: Place) -> None:
    plain = await open_engine(None, EngineOptions(microcode="off"))
    try:
        place.engine = plain
        known = calibration_of(plain.info.fingerprint)
        assert set(known.kinds) == set(KINDS)
        verdict = await place.check(lambda process: judge(process, "The statement is true."), "A week has seven days.")
        assert verdict.confidence is not None
        assert 0.5 <= verdict.confidence <= 1
        assert "not calibrated" not in verdict.reasons[0]
    finally:
        await plain.close()


async def test_microcode_judges_among_three_outcomes_at_its_own_temperature(place: Place, engine: Engine) -> None:
    place.engine = engine
    code = fitting(engine.info)
    assert code is not None
    assert "verdict" in code.temperatures
    verdict = await place.check(lambda process: judge(process, "The statement is true."), "A week has seven days.")
    assert verdict.confidence is not None
    assert 0 < verdict.confidence <= 1
    assert "not calibrated" not in verdict.reasons[0]


async def test_what_is_deterministic_needs_no_model_to_be_right(place: Place, engine: Engine) -> None:
    place.engine = engine
    assert (await place.check(recomputed, "12.5% of 1,840 = 230")).passed
    verdict = await place.check(
        lambda process: consistent(*[process] * 3, question="What is the capital of France?", max_tokens=24), "blue"
    )
    assert not verdict.passed
