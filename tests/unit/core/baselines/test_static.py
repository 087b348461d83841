"""One variant for everybody."""

from service.core.actions import Reject, Start
from service.core.baselines import create
from service.core.catalogue import Catalogue
from service.core.values import Mode, Reason
from tests.builders import FAMILY, FixedCosts, job, state, variant

CATALOGUE = Catalogue(FAMILY)
COSTS = FixedCosts()


def test_everybody_gets_the_one_variant() -> None:
    """However much the budget would buy."""
    decision = create("static:b1", CATALOGUE).decide(0.0, job(budget_s=5.0), state(), COSTS)
    assert (decision.variant.name, decision.reason) == ("b1", Reason.MOST_ACCURATE_THAT_FITS)


def test_there_is_nothing_cheaper_to_fall_back_to() -> None:
    """b3 takes 63 ms; best effort with 50 gets it all the same."""
    decision = create("static:b3", CATALOGUE).decide(0.0, job(budget_s=0.05), state(), COSTS)
    assert (decision.variant.name, decision.fits) == ("b3", False)


def test_an_untrained_variant_serves_no_budget_unless_the_operator_says_so() -> None:
    """The rule chooses among what may be routed."""
    seeded = (variant("b0"), variant("b1", trained=False))
    assert create("static:b1", Catalogue(seeded)).catalogue.routed() == ()
    assert create("static:b1", Catalogue(seeded, route_untrained=True)).catalogue.routed() == seeded[1:]


def test_static_drops_as_soon_as_the_run_cannot_end_in_time() -> None:
    """10 ms are left, b0 takes 16."""
    action = create("static:b0", CATALOGUE).next_action(0.04, state(job(1, 0.05, mode=Mode.STRICT)), COSTS)
    assert isinstance(action, Reject)


def test_clipper_runs_whatever_has_time_left() -> None:
    """10 ms are left: started, and late."""
    action = create("clipper:b0", CATALOGUE).next_action(0.04, state(job(1, 0.05, mode=Mode.STRICT)), COSTS)
    assert isinstance(action, Start)
