"""What a confidence is worth: fitting, measuring, thresholds, and what is kept per model."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.agents import calibration
from llmos.agents.calibration import (
    KINDS,
    Calibration,
    Sample,
    Thresholds,
    calibration_of,
    decide,
    ece,
    fit,
    fit_temperature,
    fit_thresholds,
    items,
    outcomes,
    reliability,
    tempered,
    written,
)
from llmos.errors import ConfigError
from llmos.messages import EngineInfo, Microcode
from llmos.tools.registry import load_tools

SHARES = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=6).map(
    lambda some: tuple(one / sum(some) for one in some)
)


def drawn(temperature: float, count: int, seed: int = 1) -> list[Sample]:
    """Decisions of a model that is overconfident by exactly this temperature."""
    chance = random.Random(seed)
    found: list[Sample] = []
    for _ in range(count):
        logs = [chance.gauss(0, 3) for _ in range(3)]
        raw = tempered([math.exp(one) / sum(map(math.exp, logs)) for one in logs], 1.0)
        found.append(Sample(raw, chance.choices(range(3), tempered(raw, temperature))[0]))
    return found


@given(SHARES, st.floats(0.05, 50.0))
def test_a_temperature_changes_how_sure_it_is_and_not_what_it_says(
    shares: tuple[float, ...], temperature: float
) -> None:
    found = tempered(shares, temperature)
    assert sum(found) == pytest.approx(1.0)
    assert found[shares.index(max(shares))] == max(found)
    if temperature >= 1:
        assert max(found) <= max(shares) + 1e-9
    else:
        assert max(found) >= max(shares) - 1e-9


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_by_which_a_model_is_overconfident_is_found(temperature: float) -> None:
    assert fit_temperature(drawn(temperature, 4000)) == pytest.approx(temperature, rel=0.12)


def test_fitting_makes_the_calibration_error_small_on_what_was_held_out() -> None:
    fitted = fit(drawn(3.0, 2000), drawn(3.0, 2000, seed=2))
    assert fitted.ece_after < 0.05 < fitted.ece_before
    assert fitted.thresholds.accept >= calibration.ACCEPTED_RIGHT


def test_a_free_answers_probability_can_fall_below_one_half() -> None:
    samples = [Sample((0.8,), 0 if number % 5 == 0 else -1) for number in range(100)]
    assert tempered((0.8,), fit_temperature(samples))[0] == pytest.approx(0.2, abs=0.01)


def test_the_calibration_error_is_the_distance_of_confidence_and_truth() -> None:
    assert ece([(0.9, True)] * 9 + [(0.9, False)], bins=1) == pytest.approx(0.0)
    assert ece([(0.9, False)] * 10) == pytest.approx(0.9)
    assert ece([]) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60), st.integers(1, 12))
def test_bins_have_equal_mass_and_leave_nothing_out(found: list[tuple[float, bool]], bins: int) -> None:
    table = reliability(found, bins)
    counts = [one.count for one in table]
    assert sum(counts) == len(found)
    assert not counts or max(counts) - min(counts) <= 1
    assert [one.confidence for one in table] == sorted(one.confidence for one in table)
    assert 0 <= ece(found, bins) <= 1


def test_a_confidence_says_what_to_do() -> None:
    steps = [decide(one) for one in (0.95, 0.7, 0.3, 0.1, None)]
    assert steps == ["accept", "vote", "escalate", "ask", "vote"]


def test_what_was_never_right_often_enough_is_never_accepted() -> None:
    wrong = [(0.95, number % 2 == 0) for number in range(40)]
    assert fit_thresholds(wrong) == Thresholds(accept=math.inf, vote=math.inf)
    assert decide(0.99, fit_thresholds(wrong)) == "escalate"
    right = [(0.97, True)] * 20 + [(0.92, False)] * 20
    assert fit_thresholds(right).accept == pytest.approx(0.97)
    assert fit_thresholds([(0.99, True)] * 3).accept == math.inf  # three are no evidence


def test_an_unknown_model_is_taken_at_its_word_and_said_to_be_uncalibrated() -> None:
    unknown = calibration_of("no such model")
    assert not any(unknown.calibrated(kind) for kind in KINDS)
    assert unknown.shares("judge", (0.8, 0.2)) == pytest.approx((0.8, 0.2))
    assert calibration_of("") == Calibration()


def test_what_is_kept_is_found_again_by_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    fitted = Calibration("mine", {"judge": fit(drawn(3.0, 200), drawn(3.0, 200, seed=2))})
    folder = calibration.own_folder()
    folder.mkdir(parents=True)
    (folder / "mine.json").write_text(written(fitted, ["f1", "f2"]), encoding="utf-8")
    found = calibration_of("f2")
    assert found.model == "mine"
    assert found.calibrated("judge")
    assert not found.calibrated("tool")
    assert found.fitted("judge").temperature == fitted.kinds["judge"].temperature


def test_where_all_is_right_no_temperature_is_fitted() -> None:
    right = [Sample((0.6, 0.4), 0), Sample((0.2, 0.8), 1)]
    assert fit_temperature(right) == 1.0
    assert fit_temperature([*right, Sample((0.9, 0.1), 1)]) != 1.0


def test_a_model_with_microcode_is_known_by_what_was_trained_and_not_by_how_it_was_rounded() -> None:
    plain = EngineInfo(name="m", fingerprint="f1")
    merged = replace(plain, fingerprint="f2", microcode=Microcode(name="kernel", digest="d"))
    assert calibration.key(plain) == "f1"
    assert calibration.key(merged) == calibration.key(replace(merged, fingerprint="f3")) == "d"
    hot = replace(merged, microcode=Microcode(name="kernel", digest="d", adapter="kernel"))
    assert calibration.key(hot) == "f2"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"fingerprints": 1, "kinds": {}}'])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    calibration.own_folder().mkdir(parents=True)
    (calibration.own_folder() / "bad.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.json"):
        calibration_of("f1")


@pytest.mark.parametrize("temperature", [0, -1, "NaN", "Infinity"])
def test_a_temperature_that_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: object
) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    calibration.own_folder().mkdir(parents=True)
    data = json.loads(written(Calibration("m", {"judge": fit(drawn(3.0, 50), drawn(3.0, 50))}), ["f1"]))
    data["kinds"]["judge"]["temperature"] = temperature
    (calibration.own_folder() / "m.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError):
        calibration_of("f1")


def test_every_shipped_calibration_can_be_read() -> None:
    for file in calibration.SHIPPED.glob("*.json"):
        known, names = calibration.kept(file)
        assert set(known.kinds) == set(KINDS)
        assert names


def test_the_shipped_items_are_consistent_and_the_parts_are_apart() -> None:
    tools = set(load_tools())
    parts = items("fit"), items("held")
    for part in parts:
        assert sum(right for _, _, right in part.judge) * 2 == len(part.judge)
        for request, choices, right in part.tool:
            assert right in choices, request
            assert set(choices) <= tools, request
    for kind in KINDS:
        fitting, held = ({one[0] for one in getattr(part, kind)} for part in parts)
        assert not fitting & held


def test_confidences_come_with_whether_they_were_right() -> None:
    found = outcomes([Sample((0.7, 0.3), 0), Sample((0.4, 0.6), 0)], 1.0)
    assert [right for _, right in found] == [True, False]
    assert [confidence for confidence, _ in found] == pytest.approx([0.7, 0.6])
