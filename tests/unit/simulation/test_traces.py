"""Arrival times with the rate and the variability they are named after, and files as people have them."""

from pathlib import Path

import numpy as np
import pytest

from service.evaluation.measures import Floats
from service.simulation import traces
from service.simulation.errors import SimulationError
from service.simulation.traces import SHAPES, Generated, Recorded, mean_rate_per_s, read


def drawn(name: str, requests: int = 50_000, rate_per_s: float = 40.0, seed: int = 3) -> Floats:
    """Arrivals of a shape."""
    return Generated(name, requests).arrivals_s(rate_per_s, np.random.default_rng(seed))


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_the_wanted_rate(name: str) -> None:
    """Exactly, in order, and as many as wanted; almost so before it was stretched."""
    arrivals_s = drawn(name)
    assert len(arrivals_s) == 50_000
    assert mean_rate_per_s(arrivals_s) == pytest.approx(40.0)
    assert (np.diff(arrivals_s) >= 0).all()
    unstretched = SHAPES[name](50_000, 40.0, np.random.default_rng(4))
    assert mean_rate_per_s(unstretched) == pytest.approx(40.0, rel=0.05)


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_seed_gives_the_same_trace(name: str) -> None:
    """And another one another."""
    assert (drawn(name, 100) == drawn(name, 100)).all()
    assert (drawn(name, 100) != drawn(name, 100, seed=4)).any()


@pytest.mark.parametrize(("name", "cv2"), [("poisson", 1.0), ("gamma4", 4.0), ("gamma8", 8.0)])
def test_gaps_are_as_variable_as_the_name_says(name: str, cv2: float) -> None:
    """Variance over squared mean."""
    gaps_s = np.diff(drawn(name))
    assert gaps_s.var() / gaps_s.mean() ** 2 == pytest.approx(cv2, rel=0.1)


def test_a_step_trace_is_calm_for_20_s_and_bursts_for_5() -> None:
    """Half of the mean rate, and three times of it."""
    arrivals_s = traces.step(50_000, 40.0, np.random.default_rng(3))
    in_period_s = arrivals_s[arrivals_s < 1000] % 25
    assert (in_period_s < 20).sum() / (40 * 20) == pytest.approx(40 * 0.5, rel=0.05)
    assert (in_period_s >= 20).sum() / (40 * 5) == pytest.approx(40 * 3.0, rel=0.05)


def test_a_ramp_begins_slowly_and_ends_fast() -> None:
    """A quarter of the mean rate, seven quarters, and the mean in the middle."""
    arrivals_s = drawn("ramp")
    seconds = arrivals_s[-1]
    for at, rate in ((0.05, 0.325), (0.5, 1.0), (0.95, 1.675)):
        near = np.abs(arrivals_s / seconds - at) < 0.05
        assert near.sum() / (0.1 * seconds * 40) == pytest.approx(rate, rel=0.05)


def test_a_file_is_read_in_order_of_time(tmp_path: Path) -> None:
    """From its first arrival on, with its own budgets, whatever else it has."""
    path = tmp_path / "mine.csv"
    path.write_text("who,arrival_s,budget_ms\na,12.5,100\nb,10,50.5\n")
    trace = read(path)
    assert (trace.name, trace.requests) == ("mine.csv", 2)
    assert trace.times_s.tolist() == [0.0, 2.5]
    assert trace.budgets_s is not None
    assert trace.budgets_s.tolist() == [0.0505, 0.1]


def test_a_file_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    """With a byte order mark and spaces around names and numbers; without that budgets would go unnoticed."""
    path = tmp_path / "mine.csv"
    path.write_text("arrival_s, budget_ms \n0, 100\n1, 50\n", encoding="utf-8-sig")
    trace = read(path)
    assert trace.times_s.tolist() == [0.0, 1.0]
    assert trace.budgets_s is not None
    assert trace.budgets_s.tolist() == [0.1, 0.05]


def test_a_file_needs_no_budgets(tmp_path: Path) -> None:
    """Its times are kept, or stretched to a rate; a part of it can be taken."""
    path = tmp_path / "mine.csv"
    path.write_text("arrival_s\n0\n1\n4\n")
    trace, draw = read(path), np.random.default_rng(0)
    assert trace.budgets_s is None
    assert trace.arrivals_s(None, draw).tolist() == [0.0, 1.0, 4.0]
    assert trace.arrivals_s(1.0, draw).tolist() == [0.0, 0.5, 2.0]
    assert trace.first(2).times_s.tolist() == [0.0, 1.0]
    assert trace.first(None).requests == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("time\n1\n", "has no column arrival_s"),
        ("", "has no column arrival_s"),
        ("arrival_s\n1\nsoon\n", "line 3: arrival_s is 'soon'"),
        ("arrival_s\nnan\n", "line 2: arrival_s is 'nan'"),
        ("arrival_s,budget_ms\n1,100\n2,\n", "line 3: budget_ms is ''"),
        ("arrival_s,budget_ms\n1,0\n", "line 2: budget_ms is '0'"),
        ("arrival_s,budget_ms\n1\n", "line 2: budget_ms is None"),
        ("arrival_s\n", "two requests at least"),
        ("arrival_s\n1\n", "two requests at least"),
        ("arrival_s\n1\n1\n", "two requests at least, at different times"),
        pytest.param(f"arrival_s\n{'1' * 200_000}\n", "is no CSV file: field larger than field limit", id="long"),
        pytest.param("arrival_s\n\udcff\n", "is no CSV file: .*utf-8", id="bytes"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """With the line where one is to blame."""
    (tmp_path / "mine.csv").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(SimulationError, match=message):
        read(tmp_path / "mine.csv")


@pytest.mark.parametrize("times_s", [[], [1.0], [1.0, 1.0]])
def test_a_trace_of_one_moment_has_no_rate(times_s: list[float]) -> None:
    """It is refused before anything is played."""
    with pytest.raises(SimulationError, match="two requests at least"):
        Recorded("short", np.array(times_s)).first(None)


def test_the_beginning_of_a_trace_needs_two_requests_too() -> None:
    """Those that come first may come at once."""
    trace = Recorded("bursts", np.array([0.0, 0.0, 1.0]))
    with pytest.raises(SimulationError, match="two requests at least, at different times"):
        trace.first(2)


def test_budgets_are_drawn_by_weight() -> None:
    """Whatever the weights add up to."""
    wanted = traces.mix("50:1,100:2,200")
    assert wanted == [(0.05, 1.0), (0.1, 2.0), (0.2, 1.0)]
    budgets_s = traces.budgets_s(wanted, 10_000, np.random.default_rng(0))
    assert [(budgets_s == budget_s).mean() for budget_s, _ in wanted] == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


@pytest.mark.parametrize("text", ["", "50:", "fast", "50:.5,", "0:1", "50:0", "50:-1", "nan:1", "50:inf", "50:1:1"])
def test_budgets_that_are_none_are_refused(text: str) -> None:
    """With the form they should have."""
    with pytest.raises(SimulationError, match="MS:WEIGHT"):
        traces.mix(text)


def test_the_default_budgets_are_in_that_form() -> None:
    """Their weights are shares."""
    assert sum(weight for _, weight in traces.mix(traces.DEFAULT_MIX)) == pytest.approx(1.0)
