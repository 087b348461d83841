"""Service times: drawn once, with the distribution of their source, and in the blocks they were measured in."""

import json
from pathlib import Path

import numpy as np
import pytest

from service.core.latency import Calibration, DecodeCost, LatencyModel
from service.simulation import times
from service.simulation.errors import SimulationError
from service.simulation.times import BLOCK, PUBLISHED, TAIL_RATIO, TrueTimes


def chance() -> np.random.Generator:
    """The same each time."""
    return np.random.default_rng(5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_times_have_the_published_median_and_the_noise_they_say(name: str) -> None:
    """Independent for each variant; the latency model begins with the same figures, and with enough of them."""
    source = times.published(name)
    drawn = source.draw(20_000, chance())
    for variant, median_ms in PUBLISHED[name].medians_ms.items():
        seconds = np.array([drawn.inference_s(request, variant, 1) for request in range(20_000)])
        assert np.median(seconds) == pytest.approx(median_ms / 1e3, rel=0.01)
        assert np.percentile(seconds, 99) == pytest.approx(TAIL_RATIO * median_ms / 1e3, rel=0.02)
    model = LatencyModel(source.calibration)
    assert model.tail_s("b0", 0.0) / source.calibration.inference_s["b0"] == pytest.approx(TAIL_RATIO, rel=0.02)
    assert PUBLISHED[name].source in source.label
    assert "made-up noise" in source.label


def test_the_same_request_meets_the_same_noise_again() -> None:
    """Another one meets another."""
    drawn = times.published("proteus").draw(10, chance())
    assert drawn.inference_s(3, "b1", 1) == drawn.inference_s(3, "b1", 1)
    assert drawn.inference_s(3, "b1", 1) != drawn.inference_s(4, "b1", 1)


def test_busy_lanes_make_the_difference_that_was_measured() -> None:
    """Between the levels and beyond them the one below counts; the oracle has the quickest of all."""
    drawn = TrueTimes({1: {"b0": np.array([1.0, 3.0])}, 4: {"b0": np.array([2.0, 2.5])}})
    assert [drawn.inference_s(0, "b0", busy) for busy in (1, 3, 4, 8)] == [1.0, 1.0, 2.0, 2.0]
    assert drawn.least == {"b0": [1.0, 2.5]}
    assert drawn.mean_s == {"b0": 2.25}
    assert drawn.depends_on_load
    assert TrueTimes({2: {"b0": np.array([1.0])}}).inference_s(0, "b0", 1) == 1.0


def log(tmp_path: Path, *, runs: int = 200) -> Path:
    """Runs whose seconds say where in the log they were."""
    content = {
        "b0": {"1": [1 + n / 1000 for n in range(runs)], "2": [2 + n / 1000 for n in range(runs)]},
        "b1": {"1": [3 + n / 1000 for n in range(runs)], "2": [4 + n / 1000 for n in range(runs)]},
    }
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(content))
    return path


def test_measured_runs_are_drawn_in_blocks_that_all_variants_share(tmp_path: Path) -> None:
    """50 that followed each other, then another 50; a bad moment strikes all variants and levels."""
    drawn = times.logged(log(tmp_path)).draw(2 * BLOCK + 7, chance())
    places = [
        [round((drawn.inference_s(request, name, busy) - base) * 1000) for request in range(2 * BLOCK + 7)]
        for name, busy, base in (("b0", 1, 1), ("b0", 2, 2), ("b1", 1, 3), ("b1", 2, 4))
    ]
    assert places[0] == places[1] == places[2] == places[3]
    steps = np.diff(places[0]) % 200
    assert (np.delete(steps, (BLOCK - 1, 2 * BLOCK - 1)) == 1).all()
    assert (steps != 1).any()


def test_short_logs_begin_anew(tmp_path: Path) -> None:
    """Those with fewer runs than a block has."""
    drawn = times.logged(log(tmp_path, runs=3)).draw(200, chance())
    assert {round(drawn.inference_s(request, "b0", 1), 6) for request in range(200)} == {1.0, 1.001, 1.002}


def test_the_latency_model_begins_with_what_a_log_says(tmp_path: Path) -> None:
    """Medians with all lanes busy, and the ratios of all variants."""
    calibration = times.logged(log(tmp_path)).calibration
    assert calibration.inference_s == pytest.approx({"b0": 2.0995, "b1": 4.0995})
    assert len(calibration.ratios) == 400
    assert np.median(calibration.ratios) == pytest.approx(1.0)


def test_the_latency_model_begins_with_both_levels_of_a_log(tmp_path: Path) -> None:
    """Three runs alone, three with both lanes busy."""
    path = tmp_path / "runs.json"
    path.write_text('{"b0": {"1": [1, 2, 3], "2": [3, 4, 5]}}')
    calibration = times.logged(path).calibration
    assert (calibration.alone_s, calibration.inference_s, calibration.lanes) == ({"b0": 2.0}, {"b0": 4.0}, 2)


def test_calibrated_times_have_both_levels() -> None:
    """The same ratios alone and among others."""
    calibration = Calibration({"b0": 0.02}, {"JPEG": DecodeCost(0.0, 0.0)}, (0.9, 1.0), None, {"b0": 0.01}, 4)
    drawn = times.calibrated(calibration, lanes=4, decode_s=0.0).draw(100, chance())
    assert drawn.depends_on_load
    assert {round(drawn.inference_s(n, "b0", 1), 6) for n in range(100)} == {0.009, 0.01}
    assert {round(drawn.inference_s(n, "b0", 4), 6) for n in range(100)} == {0.018, 0.02}


def test_a_log_may_be_a_table(tmp_path: Path) -> None:
    """With columns in any order."""
    path = tmp_path / "runs.csv"
    path.write_text("busy,variant,seconds\n1,b0,0.5\n1,b0,0.5\n")
    source = times.logged(path)
    assert source.draw(3, chance()).inference_s(2, "b0", 1) == 0.5
    assert source.label == "measured runs of runs.csv, drawn in blocks of 50"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "is no log of runs"),
        ("a.json", "[1]", "is no log of runs"),
        ("a.json", '{"b0": {"idle": [1]}}', "is no log of runs"),
        ("a.json", '{"b0": {"1": 5}}', "is no log of runs"),
        ("a.json", "{}", "has no runs"),
        ("a.json", '{"b0": {"1": [0]}}', "a run of b0 with 1 busy lanes took 0 seconds"),
        ("a.json", '{"b0": {"0": [1]}}', "a run of b0 with 0 busy lanes took 1 seconds"),
        ("a.json", '{"b0": {"1": [1], "2": [1]}, "b1": {"1": [1]}}', "has no runs of b1 with 2 busy lanes"),
        ("a.csv", "variant,seconds\nb0,1\n", "is no log of runs .* 'busy'"),
        ("a.csv", "variant,busy,seconds\nb0,1\n", "is no log of runs"),
        pytest.param("a.csv", f"variant,busy,seconds\n{'b' * 200_000},1,1\n", "is no log of runs", id="long"),
        ("a.csv", "", "has no runs"),
    ],
)
def test_a_log_that_is_none_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    """In one line."""
    (tmp_path / name).write_text(content)
    with pytest.raises(SimulationError, match=message):
        times.logged(tmp_path / name)


def test_calibrated_times_are_usual_times_with_calibrated_ratios() -> None:
    """What the server measured, decoding apart; a run stops in half of the time that the rule counts with."""
    calibration = Calibration({"b0": 0.01, "b1": 0.02}, {"JPEG": DecodeCost(0.002, 0.0)}, (0.9, 1.0, 1.3), 0.006)
    source = times.calibrated(calibration, lanes=2, decode_s=0.002)
    drawn = source.draw(100, chance())
    assert {round(drawn.inference_s(n, "b0", 1), 6) for n in range(100)} == {0.009, 0.01, 0.013}
    assert all(drawn.inference_s(n, "b1", 1) == 2 * drawn.inference_s(n, "b0", 1) for n in range(100))
    assert (source.calibration, source.decode_s, source.stop_s) == (calibration, 0.002, 0.003)
