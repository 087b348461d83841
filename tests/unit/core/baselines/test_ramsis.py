"""The decision process, where its solution can be seen."""

import math

import pytest

from service.core.baselines import create, ramsis
from service.core.baselines.profile import Row
from service.core.baselines.ramsis import arrivals_at_lane, solve
from service.core.catalogue import Catalogue
from service.core.values import Job
from tests.builders import FAMILY, FixedCosts, job, state

COSTS = FixedCosts()
FAST, SLOW = Row("fast", 0.7, 0.01, 0.01), Row("slow", 0.8, 0.1, 0.1)
ROWS = (SLOW, FAST)


def test_one_lane_gets_every_arrival() -> None:
    """Poisson probabilities."""
    arriving = arrivals_at_lane(2.0, 1)
    assert arriving[:3] == pytest.approx([math.exp(-2), 2 * math.exp(-2), 2 * math.exp(-2)])


@pytest.mark.parametrize(("mean", "lanes"), [(0.5, 2), (6.0, 3), (1000.0, 64)])
def test_lanes_share_the_arrivals(mean: float, lanes: int) -> None:
    """Probabilities add up to 1, and the mean is an equal share."""
    arriving = arrivals_at_lane(mean, lanes)
    assert sum(arriving) == pytest.approx(1.0, abs=1e-6)
    assert sum(k * p for k, p in enumerate(arriving)) == pytest.approx(mean / lanes, rel=1e-5)


def test_dealing_in_turn_is_steadier_than_chance() -> None:
    """With four lanes the count at one varies less than a Poisson count of the same mean."""
    arriving = arrivals_at_lane(8.0, 4)
    assert sum((k - 2) ** 2 * p for k, p in enumerate(arriving)) < 1.0


def test_alone_and_hardly_expecting_anybody_the_slow_one_is_best() -> None:
    """It just fits the 100 ms."""
    assert solve(ROWS, 0.01, 0.1, 1)[100][1] == 0.8


def test_a_second_one_in_the_queue_is_worth_more_than_a_better_answer() -> None:
    """Slow for the first costs 0.7 for the second, which would be dropped, and gains 0.1."""
    assert solve(ROWS, 0.01, 0.1, 1)[100][2] == 0.7


def test_with_less_slack_than_the_slow_one_takes_the_fast_one_runs() -> None:
    """99 ms."""
    assert solve(ROWS, 0.01, 0.1, 1)[99][1] == 0.7


def test_with_no_slack_nothing_is_taken() -> None:
    """Dropped."""
    assert solve(ROWS, 0.01, 0.1, 1)[0] == (0.0,) * 33


@pytest.mark.slow
def test_under_overload_the_fast_one_is_best() -> None:
    """150 a second: instead of one slow run ten fast ones."""
    assert solve(ROWS, 150.0, 0.1, 1)[100][1] == 0.7


def test_lanes_take_each_others_load_off() -> None:
    """The same 150 a second for sixteen lanes."""
    assert solve(ROWS, 150.0, 0.1, 16)[100][1] == 0.8


def test_tables_are_solved_within_the_sweeps_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one sweep only the own reward counts."""
    monkeypatch.setattr(ramsis, "MOST_SWEEPS", 0)
    assert solve(ROWS, 0.02, 0.1, 1)[100][2] == 0.8


def test_the_table_of_the_measured_rate_is_looked_up_by_queue_and_slack() -> None:
    """With 200 ms: alone b4; with 40 arrivals a second and twelve waiting, who need 192 ms at their cheapest, b0."""
    policy = create("ramsis-mdp", Catalogue(FAMILY), steps=40, most_waiting=16)
    assert policy.decide(0.0, _patient(0), state(), COSTS).variant.name == "b4"
    for number in range(20):
        policy.admit(number / 40, job(number, at_s=number / 40), state(), COSTS)
    waiting = [_patient(number) for number in range(12)]
    assert policy.decide(0.49, waiting[0], state(*waiting), COSTS).variant.name == "b0"


def test_beyond_its_table_the_last_entries_hold() -> None:
    """More slack, more waiting and a higher rate than any entry."""
    policy = create("ramsis-mdp", Catalogue(FAMILY), steps=20, most_waiting=4)
    for number in range(100):
        policy.admit(number / 1000, job(number, at_s=0.0), state(), COSTS)
    few, many = ([_patient(number) for number in range(count)] for count in (4, 50))
    chosen = [policy.decide(0.1, waiting[0], state(*waiting), COSTS).variant for waiting in (few, many)]
    assert chosen[0] == chosen[1]


def _patient(number: int) -> Job:
    return job(number, 5.0)
