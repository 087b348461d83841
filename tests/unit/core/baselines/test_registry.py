"""Every registered policy, as a whole."""

import math
import random
from typing import Any

import pytest

from service.core.actions import Reject, Start
from service.core.baselines import COUNTS, LEAST, NAMES, create, grid, names, parameters, spends
from service.core.catalogue import Catalogue
from service.core.errors import EffserveError, ErrorKind
from service.core.scheduler import Scheduler
from service.core.simulator import Arrival, simulate
from service.core.values import Decision, Job, Mode, PolicyName
from tests.builders import FAMILY, FixedCosts, job, latency, running, state

CATALOGUE = Catalogue(FAMILY)
ALL = names(CATALOGUE)
SMALL = {"ramsis-mdp": {"steps": 20.0, "most_waiting": 6.0}}
"""Tables that are quick to compute."""


def trace(seed: int, requests: int = 400) -> list[Arrival]:
    """Bursts and lulls, all kinds of questions."""
    draw, at_s, arrivals = random.Random(seed), 0.0, []
    asks: list[dict[str, Any]] = [{}, {}, {}, {"mode": Mode.STRICT}, {"variant": "b3"}, {"min_top1": 0.8}]
    for number in range(requests):
        at_s += draw.gammavariate(0.25, 4 / 60)
        asked = draw.choice(asks)
        arrivals.append(Arrival(at_s, job(number, draw.choice((0.03, 0.1, 0.4)), at_s=at_s, **asked)))
    return arrivals


@pytest.mark.parametrize("name", ALL)
def test_a_random_trace_ends_with_the_books_balanced(name: str) -> None:
    """Each request has one outcome, and what ran is served."""
    scheduler = Scheduler(policy=create(name, CATALOGUE, **SMALL.get(name, {})), latency=latency(), lanes=2)
    draw, arrivals = random.Random(2), trace(1)
    asked = [arrival for arrival in arrivals if _is_served(name, arrival.job)]

    def took(_: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, decision.expected_s * draw.lognormvariate(0.0, 0.06)

    outcomes = simulate(scheduler, asked, took)
    counts = scheduler.statistics(asked[-1].at_s)
    assert sorted(outcome.job.id for outcome in outcomes) == [arrival.job.id for arrival in asked]
    assert counts.submitted == len(asked) == counts.finished + counts.rejected + counts.cancelled
    assert (counts.waiting, counts.running) == (0, 0)
    assert {o.decision.variant for o in outcomes if o.decision} <= set(FAMILY)


def _is_served(name: str, asked: Job) -> bool:
    """A rule of one variant knows no other accuracy."""
    return not (":" in name and asked.question.min_top1)


@pytest.mark.parametrize("name", ALL)
def test_a_job_that_names_its_variant_gets_it(name: str) -> None:
    """No rule is asked about it."""
    policy = create(name, CATALOGUE)
    asked = job(1, 5.0, variant="b2")
    assert policy.admit(0.0, asked, state(), FixedCosts()) is None
    action = policy.next_action(0.0, state(asked), FixedCosts())
    assert isinstance(action, Start)
    assert action.decision.variant.name == "b2"


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("k1", "k1-uninsured", "p2", "p3")])
def test_only_the_default_terminates(name: str) -> None:
    """An urgent job waits behind an upgrade that could be stopped."""
    policy, costs = create(name, CATALOGUE), FixedCosts(stop_s=0.002)
    urgent = job(1, 0.03)
    assert policy.next_action(0.0, state(urgent, busy=(running(0, until_s=0.2),)), costs) is None
    assert policy.wake_s(0.0, state(urgent, busy=(running(0, until_s=0.2),)), costs) is None


@pytest.mark.parametrize("name", ALL)
def test_a_hopeless_strict_job_is_refused_when_its_deadline_has_passed(name: str) -> None:
    """Dropping is the queue's, not the rule's."""
    late = job(1, 0.05, mode=Mode.STRICT)
    action = create(name, CATALOGUE).next_action(0.06, state(late), FixedCosts())
    assert isinstance(action, Reject)
    assert action.error.kind is ErrorKind.INFEASIBLE_BUDGET


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_on_its_grid(name: str) -> None:
    """Tuning can only improve on it."""
    policy = create(_full(name), CATALOGUE)
    for parameter, values in grid(_full(name)).items():
        assert getattr(policy, parameter) in values


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_a_grid_is_taken(name: str) -> None:
    """By name, as a number."""
    for parameter, values in grid(_full(name)).items():
        for value in values:
            assert getattr(create(_full(name), CATALOGUE, **{parameter: value}), parameter) == value


def _full(name: str) -> str:
    return next(full for full in ALL if full.partition(":")[0] == name)


@pytest.mark.parametrize("name", ["k2", "static", "greedy:b0", ""])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    """Rules of one variant need it, the others have none."""
    with pytest.raises(ValueError, match=r"there are k1, .*static:VARIANT"):
        create(name, CATALOGUE)


def test_an_unknown_parameter_is_refused() -> None:
    """A misspelt number would compare something else."""
    with pytest.raises(TypeError, match=r"no parameter 'windows'; there are .*window_s"):
        create("model-switching", CATALOGUE, windows=1.0)
    with pytest.raises(TypeError, match="no parameter 'catalogue'"):
        create("k1", CATALOGUE, catalogue=1.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_parameter_is_a_finite_number_that_is_not_negative(name: str, value: float) -> None:
    """Whatever it is for."""
    for parameter in {"utilisation": None, **grid(_full(name))}:
        with pytest.raises(ValueError, match=f"{parameter} is a number from .* on, not "):
            create(_full(name), CATALOGUE, **{parameter: value})


@pytest.mark.parametrize("switch", ["terminates", "insures"])
def test_what_is_done_or_not_is_0_or_1(switch: str) -> None:
    """Any other number would pass for yes."""
    for value in (0.0, 1.0):
        assert getattr(create("k1", CATALOGUE, **{switch: value}), switch) == value
    for value in (7.0, 0.5, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"{switch} is 0 for no or 1 for yes, not {value:g}"):
            create("k1", CATALOGUE, **{switch: value})


@pytest.mark.parametrize(("name", "count"), [("slackfit", "buckets"), ("ramsis-mdp", "steps")])
def test_a_count_is_whole(name: str, count: str) -> None:
    """There is no half of one."""
    with pytest.raises(ValueError, match=f"{count} is a whole number, not 2.5"):
        create(name, CATALOGUE, **{count: 2.5})


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_tells_its_parameters(name: str) -> None:
    """All that it takes, and not what it serves."""
    known = parameters(_full(name), CATALOGUE)
    assert "utilisation" in known
    assert "catalogue" not in known
    assert set(grid(_full(name))) <= set(known)


def test_every_count_is_a_parameter_of_some_policy() -> None:
    """A name that is none would check nothing."""
    assert {one for name in ALL for one in parameters(name, CATALOGUE)} >= COUNTS


@pytest.mark.parametrize("name", NAMES)
def test_the_least_values_of_all_parameters_decide(name: str) -> None:
    """None of them is divided by zero."""
    full = _full(name)
    for parameter in {"utilisation": None, "patience_s": None, **grid(full), **SMALL.get(name, {})}:
        smallest = SMALL.get(name, {}) | {parameter: LEAST.get(parameter, 0.0)}
        scheduler = Scheduler(policy=create(full, CATALOGUE, **smallest), latency=latency(), lanes=2)
        asked = [arrival for arrival in trace(3, requests=40) if _is_served(full, arrival.job)]
        outcomes = simulate(scheduler, asked, lambda _, decision: (0.0, decision.expected_s))
        assert len(outcomes) == len(asked)


def test_a_variant_that_is_not_served_is_refused() -> None:
    """At once, not with the first request."""
    with pytest.raises(EffserveError, match="b9") as caught:
        create("static:b9", CATALOGUE)
    assert caught.value.kind is ErrorKind.UNKNOWN_VARIANT


def test_two_of_a_name_remember_apart() -> None:
    """What one has seen is no news to the other."""
    one, other = (create("jellyfish", CATALOGUE) for _ in range(2))
    for number in range(3):
        one.admit(number * 0.3, job(number, at_s=number * 0.3), state(), FixedCosts())
    patient = job(9, 5.0, at_s=0.6)
    assert one.decide(0.6, patient, state(), FixedCosts()).variant.name == "b4"
    assert other.decide(0.6, patient, state(), FixedCosts()).variant.name == "b0"


def test_requests_of_a_comparison_ask_for_what_the_rule_is_about() -> None:
    """Insurance and cascades are the request's choice; the other rules have one run for each."""
    assert {name: spends(name) for name in ALL if spends(name) is not PolicyName.K1} == {
        "p2": PolicyName.P2, "p3": PolicyName.P3,
    }  # fmt: skip
