"""What a request takes beside its run: read from a log, drawn row by row, and felt by requests and lanes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.core import baselines
from service.simulation import overheads, times
from service.simulation.errors import SimulationError
from service.simulation.overheads import Overheads
from service.simulation.run import World, play
from service.simulation.traces import Recorded
from tests.unit.simulation.kit import exact, world

LOG = """\
variant,busy,seconds,receive_s,dispatch_s,respond_s
b0,1,0.01,9,9,9
b0,2,0.01,0.001,0.0002,0.01
b0,2,0.02,0.002,0.0004,0.02
"""


def log(tmp_path: Path, text: str = LOG) -> Path:
    """A file."""
    path = tmp_path / "runs.csv"
    path.write_text(text)
    return path


def three(**changed: object) -> World:
    """Requests at 0, 0 and 1 s with budgets of 0.25 s on one lane where each run takes 0.1 s."""
    trace = Recorded("three", np.array([0.0, 0.0, 1.0]), np.full(3, 0.25))
    return replace(world(trace, names=("b0",), source=exact({"b0": 0.1}), load=None), **changed)  # type: ignore[arg-type]


def ends(within: World) -> tuple[list[float], list[bool]]:
    """When each request had its answer, and whether that was in time."""
    played = play(baselines.create("k1", within.catalogue), within)
    outcomes = sorted(played.outcomes, key=lambda outcome: outcome.job.id)
    return [outcome.finished_s for outcome in outcomes], [outcome.met for outcome in outcomes]


def test_both_parts_of_a_request_come_from_one_row_with_all_lanes_busy(tmp_path: Path) -> None:
    """And the price of dispatching is their mean."""
    draw = overheads.measured(log(tmp_path))
    assert draw is not None
    drawn = draw(100, np.random.default_rng(0))
    assert set(zip(drawn.receive_s.tolist(), drawn.respond_s.tolist(), strict=True)) == {(0.001, 0.01), (0.002, 0.02)}
    assert drawn.dispatch_s == pytest.approx(0.0003)


def test_a_log_may_tell_of_runs_alone(tmp_path: Path) -> None:
    """Then nothing is added, as for JSON and for published times."""
    plain = log(tmp_path, "variant,busy,seconds\nb0,1,0.01\n")
    assert overheads.measured(plain) is None
    assert times.logged(plain).overheads is None
    assert times.published("proteus").overheads is None


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    """With its line."""
    with pytest.raises(SimulationError, match=r"runs\.csv line 2: could not convert"):
        overheads.measured(log(tmp_path, LOG.replace("9,9,9", "9,x,9")))
    with pytest.raises(SimulationError, match=r"runs\.csv line 2: "):
        overheads.measured(log(tmp_path, LOG.replace("9,9,9", "9,9")))


def test_a_request_is_answered_later_by_its_way_in_and_out() -> None:
    """Its deadline does not move: it counts from the first byte."""
    assert ends(three())[0] == pytest.approx([0.1, 0.2, 1.1])
    answered_s, met = ends(three(overheads=Overheads(np.full(3, 0.01), 0.0, np.array([0.02, 0.05, 0.02]))))
    assert answered_s == pytest.approx([0.13, 0.26, 1.13])
    assert met == [True, False, True]


def test_whoever_comes_during_a_run_makes_it_longer() -> None:
    """Recorded were ten a second, one in each run of 0.1 s: 20 ms for the second one that comes, 10 back for none. Who
    begins a run does not come during it, nor does who comes with him."""
    coming = Overheads(np.zeros(3), 0.0, np.zeros(3), arrival_s=0.01, per_s={1: 10.0})
    assert ends(three(overheads=coming))[0] == pytest.approx([0.09, 0.18, 1.09])
    during = replace(three(overheads=coming), arrivals_s=np.array([0.0, 0.05, 0.06]), budgets_s=np.full(3, 1.0))
    assert ends(during)[0] == pytest.approx([0.11, 0.20, 0.29])


def test_as_many_lanes_count_as_were_recorded() -> None:
    """Of three busy lanes, what was recorded with two; nothing where nothing was."""
    known = Overheads(np.zeros(1), 0.0, np.zeros(1), arrival_s=0.01, per_s={1: 10.0, 2: 20.0})
    assert [known.longer_s(0.1, busy, coming=2) for busy in (1, 2, 3)] == pytest.approx([0.01, 0.0, 0.0])
    assert Overheads(np.zeros(1), 0.0, np.zeros(1)).longer_s(0.1, 1, coming=2) == 0.0


def test_nobody_surpasses_the_bound_when_runs_are_quicker_than_recorded() -> None:
    """80 ms are enough for a run of 90 ms in the recording, if nobody comes meanwhile."""
    quick = Overheads(np.zeros(3), 0.0, np.zeros(3), arrival_s=0.02, per_s={1: 10.0})
    within = replace(three(overheads=quick), budgets_s=np.array([0.085, 0.17, 0.085]))
    assert ends(within)[1] == [True, True, True]
    assert within.bound == pytest.approx(0.771)


def test_dispatching_takes_the_lanes_time() -> None:
    """So the one who waits pays twice."""
    assert ends(three(overheads=Overheads(np.zeros(3), 0.01, np.zeros(3))))[0] == pytest.approx([0.11, 0.22, 1.11])


def test_the_rule_learns_how_long_answers_take() -> None:
    """And keeps it in reserve: too little of the budget is left for b1 then."""
    trace = Recorded("many", 100 * np.arange(50.0), np.full(50, 0.17))
    short = world(trace, names=("b0", "b1"), source=exact({"b0": 0.1, "b1": 0.16}), load=None)

    def last(within: World) -> str:
        outcome = play(baselines.create("k1", within.catalogue), within).outcomes[-1]
        assert outcome.decision is not None
        return outcome.decision.variant.name

    assert last(short) == "b1"
    assert last(replace(short, overheads=Overheads(np.zeros(50), 0.0, np.full(50, 0.02)))) == "b0"
