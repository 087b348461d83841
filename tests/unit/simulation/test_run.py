"""Whole simulations: against queueing theory, alike when repeated, and never better than the oracle."""

from dataclasses import replace

import numpy as np
import pytest

from service.core import baselines
from service.simulation import times, traces
from service.simulation.errors import SimulationError
from service.simulation.run import Played, World, play
from service.simulation.score import score
from service.simulation.times import TrueTimes
from service.simulation.traces import SHAPES, Generated, Recorded
from tests.unit.simulation.kit import GENEROUS, exact, world


def played(within: World, name: str = "k1") -> Played:
    """With a new policy."""
    return play(baselines.create(name, within.catalogue), within)


def test_the_load_is_the_one_asked_for() -> None:
    """Of one lane by its cheapest variant."""
    assert world(Generated("poisson", 1_000), names=("b0",), load=0.7, mix=GENEROUS, seed=1).load == pytest.approx(0.7)


def test_the_same_seed_gives_the_same_outcomes() -> None:
    """All of them, to the last digit; another seed gives others."""

    def run(seed: int) -> list[tuple[int, float, str]]:
        drawn = world(Generated("gamma4", 400), source=times.published("proteus"), names=("b0", "b1"), seed=seed)
        found = played(drawn).outcomes
        return [(o.job.id, o.finished_s, o.decision.variant.name if o.decision else str(o.error)) for o in found]

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_requests_do_not_depend_on_where_service_times_come_from() -> None:
    """Each is drawn from a seed of its own: at the same rate, the same moments and budgets."""
    one, other = world(load=0.4), world(load=0.8, source=exact({"b0": 0.032, "b1": 0.05, "b4": 0.2}))
    assert one.arrivals_s == pytest.approx(other.arrivals_s)
    assert (one.budgets_s == other.budgets_s).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("load", [0.2, 1.2])
def test_no_policy_surpasses_the_bound(shape: str, load: float) -> None:
    """Nor the best variant for everybody, and every request has one outcome."""
    drawn = world(
        Generated(shape, 300), source=times.published("proteus"), names=("b0", "b1", "b3"), load=load, lanes=2
    )
    for name in ("k1", "k1-no-termination", "static:b0"):
        run = played(drawn, name)
        assert sorted(outcome.job.id for outcome in run.outcomes) == list(range(300))
        assert 0 < score(name, run, drawn).effective_accuracy <= drawn.bound <= 0.816


def test_terminated_runs_are_counted_with_what_they_cost() -> None:
    """Two upgrades are begun; one of them gives way, 10 ms after its start and 2 ms after it was asked."""
    trace = Recorded("two", np.array([0.0, 0.01]), np.array([1.0, 0.04]))
    run = played(world(trace, names=("b0", "b4"), load=None))
    assert (run.terminated, run.wasted_s) == pytest.approx((1, 0.012))
    assert [outcome.met for outcome in run.outcomes] == [True, True]


def test_where_runs_depend_on_busy_lanes_the_moment_of_the_start_counts() -> None:
    """The second request finds a lane busy, the third none."""
    source = replace(
        exact({"b0": 0.1}),
        draw=lambda count, _: TrueTimes({1: {"b0": np.full(count, 0.1)}, 2: {"b0": np.full(count, 0.2)}}),
    )
    trace = Recorded("three", np.array([0.0, 0.05, 1.0]), np.full(3, 9.0))
    ended = {
        o.job.id: o.finished_s for o in played(world(trace, names=("b0",), source=source, lanes=2, load=None)).outcomes
    }
    assert ended == pytest.approx({0: 0.1, 1: 0.25, 2: 1.1})


def test_a_recorded_trace_keeps_its_times_and_budgets_unless_told_otherwise() -> None:
    """A load stretches the times; a mix replaces the budgets; without either there is a default mix."""
    trace = Recorded("file", np.array([0.0, 1.0, 2.0]), np.array([0.1, 0.2, 0.3]))
    kept = world(trace, load=None)
    assert (kept.arrivals_s.tolist(), kept.budgets_s.tolist()) == ([0.0, 1.0, 2.0], [0.1, 0.2, 0.3])
    assert kept.load == pytest.approx(0.016)
    changed = world(trace, load=0.16, mix=[(0.5, 1.0)])
    assert (changed.arrivals_s.tolist(), changed.budgets_s.tolist()) == (
        [0.0, pytest.approx(0.1), pytest.approx(0.2)],
        [0.5] * 3,
    )
    drawn = world(Recorded("file", trace.times_s), load=None).budgets_s
    assert set(drawn.tolist()) <= {budget_s for budget_s, _ in traces.mix(traces.DEFAULT_MIX)}


def test_variants_without_times_are_named() -> None:
    """Before anything is simulated."""
    with pytest.raises(SimulationError, match="no service times are known of b1"):
        world(names=("b0", "b1"), source=exact({"b0": 0.01}))


def test_something_must_be_routed() -> None:
    """An empty catalogue has no cheapest variant."""
    with pytest.raises(SimulationError, match="a budget can choose none; try --route-untrained"):
        world(names=(), source=exact({"b0": 0.01}))
