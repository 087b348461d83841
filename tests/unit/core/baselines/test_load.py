"""Rules of load and profile. Runs of the family: 16, 26, 36, 63, 144 ms; tails a fifth longer."""

from itertools import islice

import pytest

from service.core.baselines import create
from service.core.baselines.load import carried, exponential_gaps, missed
from service.core.baselines.profile import Row
from service.core.catalogue import Catalogue
from service.core.policy import Policy
from tests.builders import FAMILY, TIMES_S, FixedCosts, job, state

COSTS = FixedCosts()
STEADY = Row("x", 0.8, 0.1, 0.1)
"""A tenth of a second, always."""


def policy(name: str, **parameters: float) -> Policy:
    """Over the family."""
    return create(name, Catalogue(FAMILY), **parameters)


def tell(told: Policy, count: int, *, until_s: float, from_s: float = 0.0) -> None:
    """`count` arrivals, evenly spaced."""
    for number in range(count):
        at_s = from_s + (until_s - from_s) * number / count
        told.admit(at_s, job(number, at_s=at_s), state(), COSTS)


def chosen(asked: Policy, now_s: float, budget_s: float = 5.0) -> str:
    """What a job that comes now would get on one idle lane."""
    return asked.decide(now_s, job(999, budget_s, at_s=now_s), state(), COSTS).variant.name


def test_gaps_are_those_of_a_poisson_process_and_the_same_each_time() -> None:
    """Mean and variance are 1."""
    one, again = (list(islice(exponential_gaps(), 5000)) for _ in range(2))
    mean = sum(one) / len(one)
    assert one == again
    assert mean == pytest.approx(1.0, abs=0.05)
    assert sum((gap - mean) ** 2 for gap in one) / len(one) == pytest.approx(1.0, abs=0.1)


def test_nobody_misses_when_hardly_anybody_comes() -> None:
    """One request in a hundred seconds."""
    assert missed(STEADY, 0.01, 1, 0.2) == 0.0


def test_under_overload_the_excess_misses() -> None:
    """40 a second for two lanes that do 20 together: half."""
    assert missed(STEADY, 40.0, 2, 0.5) == pytest.approx(0.5, abs=0.03)


def test_with_no_room_to_wait_the_blocked_share_is_erlangs() -> None:
    """One lane, a budget of exactly one run, half a lane of work: B = a/(1 + a) (Erlang 1917)."""
    assert missed(STEADY, 5.0, 1, 0.1) == pytest.approx(0.5 / 1.5, abs=0.02)


def test_a_variant_carries_the_rates_up_to_the_first_at_which_too_many_miss() -> None:
    """Half a lane's work waits little, three quarters too long."""
    assert carried(STEADY, (1.0, 5.0, 7.5, 9.0), 1, 0.5, 0.01) == 5.0
    assert carried(STEADY, (1.0, 5.0), 1, 0.5, 0.01) == 5.0


def test_a_variant_that_is_longer_than_the_budget_carries_nothing() -> None:
    """Not even a rate of zero."""
    assert carried(STEADY, (0.001, 1.0), 1, 0.09, 0.01) < 0


def test_model_switching_goes_down_with_the_rate() -> None:
    """A second is enough for b4 when nobody comes; 56 requests a second need b0."""
    switching = policy("model-switching", budget_s=1.0)
    assert chosen(switching, 0.0) == "b4"
    tell(switching, 28, until_s=0.5)
    assert chosen(switching, 0.499) == "b0"
    assert chosen(switching, 1.5) == "b4"


def test_model_switching_gives_no_more_than_the_own_budget_buys() -> None:
    """50 ms buy b2."""
    assert chosen(policy("model-switching", budget_s=1.0), 0.0, budget_s=0.05) == "b2"


def test_model_switching_keeps_to_its_profile() -> None:
    """b1 was dominated when the profile was taken and was never simulated."""
    switching = policy("model-switching", budget_s=1.0)
    then = FixedCosts({**TIMES_S, "b1": 0.05})
    switching.decide(0.0, job(1, 5.0), state(), then)
    assert chosen(switching, 0.0, budget_s=0.032) == "b0"


def test_jellyfish_starts_with_the_cheapest() -> None:
    """The first half second has not been counted."""
    assert chosen(policy("jellyfish"), 0.0) == "b0"


def test_jellyfish_takes_what_carries_the_counted_rate_with_headroom() -> None:
    """26 in a second × 1.05 = 27.3: b2 does 27.8 (36 ms), b3 15.9."""
    jellyfish = policy("jellyfish", period_s=1.0)
    tell(jellyfish, 26, until_s=1.0)
    assert chosen(jellyfish, 1.0) == "b2"


def test_jellyfish_needs_its_headroom() -> None:
    """27 × 1.05 = 28.4 is too much for b2, though 27 is not."""
    jellyfish = policy("jellyfish", period_s=1.0)
    tell(jellyfish, 27, until_s=1.0)
    assert chosen(jellyfish, 1.0) == "b1"


def test_jellyfish_keeps_half_the_budget_for_waiting() -> None:
    """Of 80 ms 40 may be used: b1 (31.2), not b2 (43.2)."""
    jellyfish = policy("jellyfish", period_s=1.0)
    tell(jellyfish, 1, until_s=1.0)
    assert chosen(jellyfish, 1.0, budget_s=0.08) == "b1"


def test_conservative_counts_over_a_window_without_headroom() -> None:
    """27 a second are within b2's 27.8, and forgotten a second later."""
    conservative = policy("ramsis-conservative", window_s=1.0)
    tell(conservative, 27, until_s=1.0)
    assert chosen(conservative, 0.99) == "b2"
    assert chosen(conservative, 2.0) == "b4"


def test_conservative_keeps_half_the_budget_for_waiting() -> None:
    """As Jellyfish."""
    assert chosen(policy("ramsis-conservative"), 0.0, budget_s=0.08) == "b1"
