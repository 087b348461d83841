"""The linear program in closed form, and the shares it leads to."""

import pytest

from service.core.baselines import create
from service.core.baselines.profile import Row
from service.core.baselines.proteus import Mix, draw, hull, mix
from service.core.catalogue import Catalogue
from tests.builders import FAMILY, FixedCosts, job, state

COSTS = FixedCosts()
FAST, GOOD, BEST = (Row(*row) for row in (("f", 0.7, 0.01, 0.01), ("g", 0.8, 0.02, 0.02), ("b", 0.85, 0.06, 0.06)))
ROWS = (BEST, GOOD, FAST)


def test_two_neighbours_share_the_time_there_is() -> None:
    """30 ms each: a quarter of the way from 20 to 60."""
    mixed = mix(ROWS, 0.03)
    assert (mixed.better, mixed.cheaper) == (BEST, GOOD)
    assert mixed.share == pytest.approx(0.25)


def test_plenty_of_time_buys_the_best() -> None:
    """Alone."""
    assert mix(ROWS, 0.06) == Mix(BEST, BEST, 1.0)


def test_too_little_time_buys_the_cheapest() -> None:
    """The program is infeasible; what can be served is."""
    assert mix(ROWS, 0.009) == Mix(FAST, FAST, 1.0)


def test_a_variant_below_the_hull_is_passed_over() -> None:
    """Halfway between 10 and 60 ms a mix has more than 0.72."""
    poor = Row("p", 0.72, 0.035, 0.035)
    assert hull((BEST, poor, FAST)) == (BEST, FAST)
    assert hull(ROWS) == ROWS


def test_draws_keep_to_their_shares() -> None:
    """A quarter of a thousand, within three, wherever one begins; chance would be off by fourteen."""
    for start in (0, 777):
        assert abs(sum(draw(number) < 0.25 for number in range(start, start + 1000)) - 250) <= 3


def test_the_mix_follows_the_demand() -> None:
    """20 a second × 1.05 leave 47.6 ms for each: b2 (36) and b3 (63), 43 % of them."""
    proteus = create("proteus", Catalogue(FAMILY))
    for number in range(20):
        proteus.admit(number / 20, job(number, at_s=number / 20), state(), COSTS)
    names = [proteus.decide(1.0, job(n, 5.0, at_s=1.0), state(), COSTS).variant.name for n in range(1000)]
    assert set(names) == {"b2", "b3"}
    assert names.count("b3") / 1000 == pytest.approx((1 / 21 - 0.036) / (0.063 - 0.036), abs=0.005)


def test_a_demand_that_nobody_has_measured_gets_the_cheapest() -> None:
    """Before the first interval is over."""
    proteus = create("proteus", Catalogue(FAMILY))
    assert proteus.decide(0.0, job(1, 5.0), state(), COSTS).variant.name == "b0"


def test_no_demand_at_all_gets_the_best() -> None:
    """Long after the last request the smoothed demand has faded."""
    proteus = create("proteus", Catalogue(FAMILY))
    proteus.admit(0.0, job(1), state(), COSTS)
    assert proteus.decide(5000.0, job(2, 5.0, at_s=5000.0), state(), COSTS).variant.name == "b4"


def test_a_request_gets_no_more_than_its_budget_buys() -> None:
    """40 ms buy b1, whatever the mix."""
    proteus = create("proteus", Catalogue(FAMILY))
    proteus.admit(0.0, job(1), state(), COSTS)
    assert proteus.decide(50.0, job(2, 0.04, at_s=50.0), state(), COSTS).variant.name == "b1"
