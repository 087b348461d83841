"""Plays a trace against a policy, with the server's scheduler and latency model, and keeps what a score needs."""

import math
import time
from array import array
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from service.core import oracle
from service.core.actions import Action
from service.core.catalogue import Catalogue, rank
from service.core.latency import LatencyModel, Observation
from service.core.policy import Policy
from service.core.scheduler import Scheduler
from service.core.simulator import Arrival, Outcome, simulate
from service.core.values import Deadline, Decision, Job, PolicyName, Question, Variant
from service.evaluation.measures import Floats
from service.simulation import traces
from service.simulation.errors import SimulationError
from service.simulation.overheads import Overheads
from service.simulation.times import IMAGE_FORMAT, Source, TrueTimes
from service.simulation.traces import Mix, Trace

ANYTHING = Question(Deadline(0.0, 0.0))
"""What a request asks that says nothing but its budget."""


@dataclass(frozen=True)
class World:
    """What all policies meet alike: requests, what each would take on each variant, and the lanes."""

    catalogue: Catalogue
    source: Source
    times: TrueTimes
    lanes: int
    arrivals_s: Floats
    budgets_s: Floats
    confidences: Floats
    """How sure the first answer to each request is. Only their order matters to a policy, so they are uniform."""
    overheads: Overheads | None = None
    question: Question = ANYTHING
    """What each request asks, but for its deadline."""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """What a budget may choose, quickest first."""
        return tuple(sorted(self.catalogue.routed(), key=lambda variant: self.times.mean_s[variant.name]))

    @property
    def load(self) -> float:
        """Share of the lanes' time that the cheapest variant alone would take."""
        return traces.mean_rate_per_s(self.arrivals_s) * self.service_s(self.variants[0]) / self.lanes

    def service_s(self, variant: Variant) -> float:
        """Mean time of a run, with decoding."""
        return self.times.mean_s[variant.name] + self.source.decode_s

    @cached_property
    def bound(self) -> float:
        """The effective accuracy that no policy can surpass."""
        least = [self.times.least[variant.name] for variant in self.variants]
        demands = (
            oracle.Demand(at_s, at_s + budget_s, [self._least_s(seconds) for seconds in inference_s])
            for at_s, budget_s, *inference_s in zip(
                self.arrivals_s.tolist(), self.budgets_s.tolist(), *least, strict=True
            )
        )
        return oracle.bound(demands, [rank(variant) for variant in self.variants], self.lanes)

    def run_s(self, job: Job, decision: Decision, busy: int) -> float:
        """What a run takes that begins with so many lanes busy, its own among them."""
        seconds = self.times.inference_s(job.id, decision.variant.name, busy)
        if self.overheads is None:
            return seconds
        began_s = decision.decided_at_s
        first, last = np.searchsorted(self._in_order_s, (began_s, began_s + seconds), side="right")
        return seconds + self.overheads.longer_s(seconds, busy, coming=int(last - first))

    @cached_property
    def _in_order_s(self) -> Floats:
        return np.sort(self.arrivals_s)

    def _least_s(self, seconds: float) -> float:
        least_s = seconds if self.overheads is None else self.overheads.least_s(seconds)
        return least_s + self.source.decode_s

    def arrivals(self, spends: PolicyName | None = None) -> list[Arrival]:
        """Requests as they come to a server. A job's id is the request's position."""
        question = self.question if spends is None else replace(self.question, policy=spends)
        moments = zip(self.arrivals_s.tolist(), self.budgets_s.tolist(), self._receive_s(), strict=True)
        return [
            Arrival(
                at_s + receive_s,
                Job(number, replace(question, deadline=Deadline(at_s, budget_s)), self.source.decode_s, IMAGE_FORMAT),
            )
            for number, (at_s, budget_s, receive_s) in enumerate(moments)
        ]

    def answered(self, outcome: Outcome) -> Outcome:
        """With the way out; a refusal has none."""
        if self.overheads is None or outcome.decision is None:
            return outcome
        return replace(outcome, finished_s=outcome.finished_s + float(self.overheads.respond_s[outcome.job.id]))

    def _receive_s(self) -> list[float]:
        return [0.0] * len(self.arrivals_s) if self.overheads is None else self.overheads.receive_s.tolist()


@dataclass(frozen=True, slots=True)
class Played:
    """What became of the requests."""

    outcomes: list[Outcome]
    terminated: int
    """Runs that were stopped."""
    wasted_s: float
    """Lane time that went into them."""
    events_s: "array[float]"
    """Processor time that the scheduler needed for each event, on this machine."""


def make_world(
    catalogue: Catalogue,
    source: Source,
    trace: Trace,
    *,
    lanes: int,
    load: float | None,
    mix: Mix | None,
    seed: int,
) -> World:
    """Draw requests and service times; each from a seed of its own, so that none depends on how often another draws.

    `load`: None leaves a recorded trace as it is. `mix`: None takes the budgets of the trace, or the default mix where
    it has none. Raises `SimulationError`.
    """
    seeds = np.random.SeedSequence(seed).spawn(5)
    arriving, budgeting, serving, judging, around = map(np.random.default_rng, seeds)
    if load is not None and not 0 < load < math.inf:
        raise SimulationError(f"a load is a number above 0, not {load:g}")
    if not catalogue.routed():
        raise SimulationError("no variant has a known accuracy, so a budget can choose none; try --route-untrained")
    times = source.draw(trace.requests, serving)
    if missing := [variant.name for variant in catalogue.routed() if variant.name not in times.mean_s]:
        raise SimulationError(f"no service times are known of {', '.join(sorted(missing))}")
    cheapest_s = min(times.mean_s[variant.name] for variant in catalogue.routed()) + source.decode_s
    arrivals_s = trace.arrivals_s(None if load is None else load * lanes / cheapest_s, arriving)
    budgets_s = trace.budgets_s if mix is None else None
    if budgets_s is None:
        budgets_s = traces.budgets_s(mix or traces.mix(traces.DEFAULT_MIX), trace.requests, budgeting)
    overheads = None if source.overheads is None else source.overheads(trace.requests, around)
    confidences = judging.random(trace.requests)
    return World(catalogue, source, times, lanes, arrivals_s, budgets_s, confidences, overheads)


def play(policy: Policy, world: World, spends: PolicyName | None = None) -> Played:
    """One simulation, in which all requests want their budgets spent alike, on as many background lanes as others.

    The policy is to be a new one: some remember what they saw.
    """
    latency = LatencyModel(world.source.calibration)
    scheduler = _Watched(policy=policy, latency=latency, lanes=world.lanes, background_lanes=world.lanes)
    stop_s, decode_s = world.source.stop_s, world.source.decode_s

    overheads = world.overheads
    dispatch_s = 0.0 if overheads is None else overheads.dispatch_s

    def service_time(job: Job, decision: Decision) -> tuple[float, float]:
        busy = scheduler.busy(decision.decided_at_s) if world.times.depends_on_load else 1
        if overheads is not None:
            # The server keeps in reserve what lies between a run and its answer, and the way back is part of that.
            scheduler.latency.observe_respond(dispatch_s + float(overheads.respond_s[job.id]))
        return decode_s, world.run_s(job, decision, busy)

    def confidence(job: Job, _: Decision) -> float:
        return float(world.confidences[job.id])

    arrivals = world.arrivals(spends)
    outcomes = simulate(scheduler, arrivals, service_time, lambda _: stop_s, confidence, dispatch_s=dispatch_s)
    terminated = scheduler.statistics(world.arrivals_s[-1]).terminated
    return Played(list(map(world.answered, outcomes)), terminated, scheduler.wasted_s, scheduler.events_s)


class _Watched(Scheduler):
    """The server's scheduler with a stopwatch, and a sum of what terminated runs cost."""

    def __init__(self, *, policy: Policy, latency: LatencyModel, lanes: int, background_lanes: int) -> None:
        super().__init__(policy=policy, latency=latency, lanes=lanes, background_lanes=background_lanes)
        self.events_s = array("d")
        self.wasted_s = 0.0

    def busy(self, now_s: float) -> int:
        """Lanes that run something."""
        return len(self.state(now_s).running)

    def submit(self, now_s: float, job: Job) -> list[Action]:
        """See `Scheduler.submit`."""
        started_s = time.thread_time()
        actions = super().submit(now_s, job)
        self.events_s.append(time.thread_time() - started_s)
        return actions

    def finish(self, now_s: float, lane: int, run: Observation | None, ended_s: float | None = None) -> list[Action]:
        """See `Scheduler.finish`."""
        started_s = time.thread_time()
        actions = super().finish(now_s, lane, run, ended_s)
        self.events_s.append(time.thread_time() - started_s)
        return actions

    def terminated(self, now_s: float, lane: int) -> list[Action]:
        """See `Scheduler.terminated`."""
        self.wasted_s += sum(now_s - run.started_s for run in self.state(now_s).running if run.lane == lane)
        started_s = time.thread_time()
        actions = super().terminated(now_s, lane)
        self.events_s.append(time.thread_time() - started_s)
        return actions

    def tick(self, now_s: float) -> list[Action]:
        """See `Scheduler.tick`."""
        started_s = time.thread_time()
        actions = super().tick(now_s)
        self.events_s.append(time.thread_time() - started_s)
        return actions

    def wake_s(self, now_s: float) -> float | None:
        """See `Scheduler.wake_s`. It is asked after each event."""
        started_s = time.thread_time()
        moment_s = super().wake_s(now_s)
        self.events_s[-1] += time.thread_time() - started_s
        return moment_s
