"""Rules of the head's slack. Tails of the family: 19.2, 31.2, 43.2, 75.6, 172.8 ms."""

from service.core.baselines import create
from service.core.catalogue import Catalogue
from tests.builders import FAMILY, FixedCosts, job, state

CATALOGUE = Catalogue(FAMILY)
COSTS = FixedCosts()


def chosen(name: str, budget_s: float, **parameters: float) -> str:
    """What an idle machine gives."""
    return create(name, CATALOGUE, **parameters).decide(0.0, job(budget_s=budget_s), state(), COSTS).variant.name


def test_greedy_takes_what_fits_whoever_waits() -> None:
    """b4, though three others then miss."""
    asked = job(1, 0.174)
    others = [job(number, 0.175) for number in (2, 3, 4)]
    decision = create("greedy", CATALOGUE).decide(0.0, asked, state(asked, *others), COSTS)
    assert decision.variant.name == "b4"


def test_slackfit_waits_for_the_slack_of_the_whole_bucket() -> None:
    """16 buckets of 9.6 ms: b1's reaches from 28.8 to 38.4 ms."""
    assert (chosen("greedy", 0.038), chosen("slackfit", 0.038), chosen("slackfit", 0.039)) == ("b1", "b0", "b1")


def test_slackfit_skips_empty_buckets() -> None:
    """100 ms are in a bucket that holds nothing; the next below that does holds b3."""
    assert chosen("slackfit", 0.1) == "b3"


def test_slackfit_takes_the_most_accurate_of_a_bucket() -> None:
    """Two buckets of 76.8 ms: from 96 ms on everything below is in the first, and b3 is its best."""
    assert (chosen("slackfit", 0.095, buckets=2), chosen("slackfit", 0.097, buckets=2)) == ("b0", "b3")


def test_slackfit_falls_back_to_the_cheapest() -> None:
    """5 ms are below the first bucket."""
    assert chosen("slackfit", 0.005) == "b0"
