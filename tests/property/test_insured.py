"""Insurance costs nobody anything: the foreground of insured requests is that of serving all by the cheapest."""

from dataclasses import replace
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.actions import Action
from service.core.baselines import create
from service.core.catalogue import Catalogue
from service.core.latency import Observation
from service.core.policy import BudgetPolicy, Policy
from service.core.scheduler import Scheduler
from service.core.simulator import Arrival, Outcome, simulate
from service.core.values import Decision, Job, Mode, PolicyName
from tests.builders import FAMILY, TIMES_S, job, latency

CATALOGUE = Catalogue(FAMILY)
STOP_S = 0.002


class Request(NamedTuple):
    """One of a trace."""

    gap_s: float
    budget_s: float
    mode: Mode
    stretch: float
    """What its runs take, over what is expected."""


TRACES = st.lists(
    st.builds(
        Request,
        gap_s=st.one_of(st.just(0.0), st.floats(0.0, 0.03), st.floats(0.0, 0.4)),
        budget_s=st.one_of(st.floats(0.005, 0.08), st.floats(0.08, 1.5)),
        mode=st.sampled_from(Mode),
        stretch=st.floats(0.5, 4.0),
    ),
    min_size=1,
    max_size=60,
)


class Watched(Scheduler):
    """Notes when each first run ended."""

    def __init__(self, policy: Policy, lanes: int, background_lanes: int) -> None:
        model = latency(stop_s=STOP_S)
        super().__init__(policy=policy, latency=model, lanes=lanes, background_lanes=background_lanes)
        self.first_s: dict[int, float] = {}

    def finish(self, now_s: float, lane: int, run: Observation | None, ended_s: float | None = None) -> list[Action]:
        """See `Scheduler.finish`."""
        for ended in self.state(now_s).running:
            if ended.lane == lane:
                self.first_s[ended.job.id] = now_s
        return super().finish(now_s, lane, run, ended_s)


def played(subject: Watched, trace: list[Request], spends: PolicyName) -> list[Outcome]:
    """All requests want the same."""
    at_s, arrivals = 0.0, []
    for number, one in enumerate(trace):
        at_s += one.gap_s
        arrivals.append(Arrival(at_s, job(number, one.budget_s, at_s=at_s, mode=one.mode, policy=spends)))

    def took(asked: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, TIMES_S[decision.variant.name] * trace[asked.id].stretch

    return simulate(subject, arrivals, took, lambda _: STOP_S, lambda asked, _: asked.id % 7 / 7)


@settings(max_examples=200, deadline=None)
@given(
    trace=TRACES,
    lanes=st.integers(1, 3),
    background_lanes=st.integers(0, 3),
    spends=st.sampled_from([PolicyName.P2, PolicyName.P3]),
)
def test_first_answers_and_refusals_come_as_if_all_were_served_by_the_cheapest(
    trace: list[Request], lanes: int, background_lanes: int, spends: PolicyName
) -> None:
    """To the moment, whatever is upgraded; so nobody who would be answered in time is late."""
    insured = Watched(BudgetPolicy(CATALOGUE), lanes, background_lanes)
    static = Watched(create("static:b0", CATALOGUE), lanes, 0)
    outcomes = played(insured, trace, spends)
    expected = played(static, trace, PolicyName.K1)
    assert insured.first_s == static.first_s
    assert _refused(outcomes) == _refused(expected)
    assert {one.job.id for one in outcomes if one.met} == {one.job.id for one in expected if one.met}


def _refused(outcomes: list[Outcome]) -> dict[int, tuple[float, str]]:
    return {one.job.id: (one.finished_s, one.error.kind) for one in outcomes if one.error is not None}


@settings(max_examples=100, deadline=None)
@given(trace=TRACES, lanes=st.integers(1, 2), insured=st.sets(st.integers(0, 59)))
def test_background_lanes_change_nothing_for_others(trace: list[Request], lanes: int, insured: set[int]) -> None:
    """In mixed traffic, too: who is not insured gets the same variant at the same moment with them and without.
    Where losses insure all, nobody is such a one."""

    def others(background_lanes: int) -> dict[int, tuple[float, str | None]]:
        subject = Watched(BudgetPolicy(CATALOGUE, insures=False), lanes, background_lanes)
        mixed = {number: PolicyName.P2 if number in insured else PolicyName.K1 for number in range(len(trace))}
        return {
            # A moment that is a sum of others depends in its last digit on what was added before.
            one.job.id: (round(one.finished_s, 9), one.decision.variant.name if one.decision else None)
            for one in _mixed(subject, trace, mixed)
            if one.job.id not in insured
        }

    assert others(2) == others(0)


def _mixed(subject: Watched, trace: list[Request], spends: dict[int, PolicyName]) -> list[Outcome]:
    at_s, arrivals = 0.0, []
    for number, one in enumerate(trace):
        at_s += one.gap_s
        asked = job(number, one.budget_s, at_s=at_s, mode=one.mode)
        question = replace(asked.question, policy=spends[number])
        arrivals.append(Arrival(at_s, replace(asked, question=question)))

    def took(asked: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, TIMES_S[decision.variant.name] * trace[asked.id].stretch

    return simulate(subject, arrivals, took, lambda _: STOP_S)
