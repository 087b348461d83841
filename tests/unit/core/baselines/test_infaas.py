"""The variant is chosen on arrival, by profile. Tails: 19.2, 31.2, 43.2, 75.6, 172.8 ms."""

from service.core.actions import Start
from service.core.baselines.infaas import InfaasAccurate, InfaasTightest
from service.core.catalogue import Catalogue
from tests.builders import FAMILY, TIMES_S, FixedCosts, job, running, state, variant

COSTS = FixedCosts()


def accurate(**parameters: float) -> InfaasAccurate:
    """Over the family."""
    return InfaasAccurate(Catalogue(FAMILY), **parameters)


def test_the_choice_of_the_arrival_stands() -> None:
    """180 ms bought b4; after 80 ms of waiting it is run, though it does not fit any more."""
    policy, asked = accurate(), job(1, 0.18)
    assert policy.admit(0.0, asked, state(), COSTS) is None
    action = policy.next_action(0.08, state(asked), COSTS)
    assert isinstance(action, Start)
    assert (action.decision.variant.name, action.decision.fits) == ("b4", False)


def test_who_is_only_asked_about_arrives_now() -> None:
    """With 100 ms left of 180, b3."""
    assert accurate().decide(0.08, job(1, 0.18), state(), COSTS).variant.name == "b3"


def test_first_come_first_served() -> None:
    """The later one is more urgent and waits."""
    action = accurate().next_action(0.0, state(job(1, 5.0), job(2, 0.1)), COSTS)
    assert isinstance(action, Start)
    assert action.job.id == 1


def test_the_tightest_fit_may_be_dominated() -> None:
    """70 ms: `slow` (60 ms, 78 %) is a tighter fit than b2, which is both faster and better."""
    catalogue, costs = Catalogue((*FAMILY, variant("slow", 0.78))), FixedCosts({**TIMES_S, "slow": 0.055})
    asked = job(1, 0.07)
    assert InfaasTightest(catalogue).decide(0.0, asked, state(), costs).variant.name == "slow"
    assert InfaasAccurate(catalogue).decide(0.0, asked, state(), costs).variant.name == "b2"


def test_nothing_fits_means_the_cheapest() -> None:
    """5 ms."""
    assert accurate().decide(0.0, job(1, 0.005), state(), COSTS).variant.name == "b0"


def test_a_busy_second_takes_a_step_down_and_a_calm_one_a_step_up() -> None:
    """b4, after a second without rest b3, after one of rest b4 again."""
    policy, patient = accurate(), job(1, 9.0)
    busy = state(busy=(running(0, until_s=5.0),))
    policy.next_action(0.0, busy, COSTS)
    policy.next_action(1.0, busy, COSTS)
    assert policy.decide(1.0, patient, state(), COSTS).variant.name == "b3"
    policy.next_action(1.1, state(), COSTS)
    policy.next_action(2.0, state(), COSTS)
    assert policy.decide(2.0, patient, state(), COSTS).variant.name == "b4"


def test_between_calm_and_busy_nothing_changes() -> None:
    """Eight tenths of the second were used."""
    policy = accurate()
    policy.next_action(0.0, state(busy=(running(0, until_s=5.0),)), COSTS)
    policy.next_action(0.8, state(), COSTS)
    policy.next_action(1.0, state(), COSTS)
    assert policy.decide(1.0, job(1, 9.0), state(), COSTS).variant.name == "b4"


def test_steps_end_at_the_cheapest() -> None:
    """Ten busy seconds, and one calm one is enough to leave b0."""
    policy, busy = accurate(), state(busy=(running(0, until_s=50.0),))
    for second in range(11):
        policy.next_action(float(second), busy, COSTS)
    assert policy.decide(10.0, job(1, 99.0), state(), COSTS).variant.name == "b0"
    policy.next_action(10.0, state(), COSTS)
    policy.next_action(11.0, state(), COSTS)
    assert policy.decide(11.0, job(1, 99.0), state(), COSTS).variant.name == "b1"


def test_those_who_left_are_forgotten() -> None:
    """One was cancelled while it waited; the choice for the other is kept."""
    policy, stays = accurate(), job(2, 0.18)
    for asked in (job(1, 0.18), stays):
        policy.admit(0.0, asked, state(), COSTS)
    policy.next_action(0.0, state(stays, busy=(running(0, until_s=1.0),)), COSTS)
    assert set(policy.memory.chosen) == {2}


def test_who_is_refused_is_not_remembered() -> None:
    """Three seconds of work wait for the only lane."""
    policy = accurate()
    assert policy.admit(0.0, job(1), state(busy=(running(0, until_s=3.0),)), COSTS) is not None
    assert policy.memory.chosen == {}
