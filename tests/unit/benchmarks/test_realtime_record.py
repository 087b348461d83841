"""Recordings: which runs are made, what a lane waits between them, and a log that `effserve simulate` reads."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clients import Reply
from benchmarks.realtime import record
from benchmarks.realtime.record import LEAST_RUNS, MOST_SHARE, Done, Row, idle_s, turn
from service.commands.simulate import Asked, simulate
from service.simulation import times

COSTS_S = {"b4": 0.16, "b0": 0.02, "b1": 0.04}


def shares(seconds: float) -> dict[str, float]:
    """Of the time, by variant."""
    spent = {name: runs * COSTS_S[name] for name, runs in Counter(turn(COSTS_S, seconds)).items()}
    return {name: spent_s / sum(spent.values()) for name, spent_s in spent.items()}


def test_the_cheapest_has_enough_runs_and_the_others_the_same_time() -> None:
    """Where that is much of the time, no more than its share."""
    assert shares(seconds=110.0)["b0"] == pytest.approx(LEAST_RUNS * 0.02 / 110, rel=0.05)
    assert shares(seconds=60.0)["b0"] == pytest.approx(MOST_SHARE, rel=0.05)
    others = shares(seconds=60.0)
    assert others["b1"] == pytest.approx(others["b4"], rel=0.15)


def test_the_time_is_shared_alike_where_there_is_enough() -> None:
    """Then the cheapest has more runs than it needs."""
    assert shares(seconds=100_000.0) == pytest.approx(dict.fromkeys(COSTS_S, 1 / 3), rel=0.15)


def test_variants_are_interleaved() -> None:
    """Every half of a turn has half of the runs of each."""
    whole = turn(COSTS_S, 60.0)
    half, all_of_it = Counter(whole[: len(whole) // 2]), Counter(whole)
    assert all(abs(half[name] - count / 2) <= 1 for name, count in all_of_it.items())
    assert min(all_of_it.values()) >= 1


def done(start_s: float, run_s: float, *, respond_s: float = 0.001, outside_s: float = 0.002) -> Done:
    """A run that was on its lane from `start_s` on."""
    total_ms = (run_s + respond_s) * 1e3
    reply = Reply(
        "b0", receive_ms=0.0, queue_ms=0.0, decode_ms=run_s * 400, inference_ms=run_s * 600, hold_ms=0.0,
        respond_ms=respond_s * 1e3, total_ms=total_ms, met=True, terminated=False,
        client_ms=total_ms + outside_s * 1e3,
    )  # fmt: skip
    return Done(reply, start_s + run_s + respond_s + outside_s)


def test_a_run_is_found_on_the_clients_clock() -> None:
    """From its answer, back by what came after it."""
    assert done(5.0, 0.1).on_lane == pytest.approx((5.0, 5.1))


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_what_a_lane_waits_between_two_runs(lanes: int) -> None:
    """Runs of 10 and 30 ms in turn with 1 ms between them, on each lane; ends do not disturb it."""
    runs = []
    for lane in range(lanes):
        at_s = 0.003 * lane
        for number in range(200):
            run_s = 0.01 if number % 2 else 0.03
            runs.append(done(at_s, run_s))
            at_s += run_s + 0.001
    assert idle_s(sorted(runs, key=lambda one: one.at_s), lanes) == pytest.approx(0.001, rel=0.02)


def test_a_few_runs_tell_nothing_of_that() -> None:
    """An error rather than a figure."""
    with pytest.raises(ValueError, match="3 runs are too few"):
        idle_s([done(n, 0.5) for n in range(3)], 2)


def rows() -> list[Row]:
    """Two variants on two levels."""
    return [
        Row(
            name, busy, run_s * (1 + n / 100), 0.0005, 0.0003, 0.0004 + n / 1e5, 0.001, 0.0008 * (busy - 1), 20.0 * busy
        )
        for n in range(60)
        for name, run_s in (("b0", 0.02), ("b1", 0.04))
        for busy in (1, 2)
    ]


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    record.append(path, rows()[:100])
    record.append(path, rows()[100:])
    return path


def test_a_log_keeps_what_was_recorded(log: Path) -> None:
    """In order, and over several recordings."""
    found = record.read(log)
    assert [(row.variant, row.busy) for row in found] == [(row.variant, row.busy) for row in rows()]
    for column in ("seconds", "receive_s", "dispatch_s", "respond_s", "outside_s", "arrival_s", "per_s"):
        assert [getattr(row, column) for row in found] == pytest.approx(
            [getattr(row, column) for row in rows()], abs=1e-6
        )
    assert record.mean_s(found, "b1", 2) == pytest.approx(0.04 * 1.295, rel=1e-3)


def test_simulate_reads_the_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its variants, their times on all lanes, and what requests take beside their runs."""
    simulate(Asked("poisson", ["k1"], lanes=2, requests=100, times=str(log)), as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [variant["name"] for variant in report["variants"]] == ["b0", "b1"]
    assert report["variants"][0]["service_ms"] == pytest.approx(20 * 1.295, rel=0.1)
    draw = times.logged(log).overheads
    assert draw is not None
    drawn = draw(50, np.random.default_rng(0))
    assert drawn.dispatch_s == pytest.approx(0.0003)
    assert drawn.arrival_s == pytest.approx(0.0008)
    assert drawn.per_s == {1: 20.0, 2: 40.0}
    assert set(drawn.receive_s.tolist()) == {0.0005}
    assert 0.0004 <= drawn.respond_s.min() <= drawn.respond_s.max() <= 0.001
