"""From what became of the requests to figures: how many were answered in time, how well, and what it cost.

Every request that was offered counts, also one that was refused. `accuracy` is what is known of the variant that
answered, not of the answer: a simulation has no images.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.core.catalogue import rank
from service.core.simulator import Outcome
from service.evaluation.measures import wilson
from service.simulation.run import Played, World
from service.simulation.traces import mean_rate_per_s

MOST_CLASSES = 12
"""With more different budgets than this, they are grouped."""
FIRST_GROUP_MS = 25.0
"""Upper limit of the lowest group; each one above goes to twice the limit of the one below."""


@dataclass(frozen=True, slots=True)
class Attainment:
    """Share of the requests that were answered within their budget, with its 95 % interval (Wilson)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class BudgetScore:
    """Requests with one budget, or, where there are many, with budgets up to this one and above half of it."""

    budget_ms: float
    requests: int
    attainment: Attainment
    serving_accuracy: float | None
    variants: dict[str, float]


@dataclass(frozen=True, slots=True)
class Score:
    """One policy on one trace. Shares are of the offered requests unless another whole is named."""

    policy: str
    attainment: Attainment
    serving_accuracy: float | None
    """Mean over the requests answered in time; None when there are none."""
    effective_accuracy: float
    """Mean over all requests, 0 for those not answered in time: attainment x serving accuracy."""
    of_bound: float | None
    """Effective accuracy over what nobody can surpass; None where that is 0."""
    variants: dict[str, float]
    """Who answered, in time or late: share of the answers."""
    late: float
    rejected: float
    terminated: float
    """Runs that were stopped, over requests."""
    wasted: float
    """Lane time that went into terminated runs, over all lane time until the last outcome."""
    budgets: tuple[BudgetScore, ...]
    event_us_p50: float
    event_us_p99: float
    """Processor time of one event (arrival, end of a run) where the simulation ran: policy, queue, latency model."""


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """What a policy could choose from."""

    name: str
    top1: float
    service_ms: float
    """Mean, with decoding, in the drawn truth."""


@dataclass(frozen=True, slots=True)
class Report:
    """A comparison: all policies met the same requests and the same service times."""

    trace: str
    requests: int
    seed: int
    seconds: float
    arrivals_per_s: float
    load: float
    """Share of the lanes' time that the cheapest variant alone would take."""
    lanes: int
    times: str
    """Whose service times."""
    variants: tuple[VariantFacts, ...]
    bound: float
    """Effective accuracy that nobody can surpass."""
    policies: tuple[Score, ...]


def make_report(world: World, scores: Sequence[Score], *, trace: str, seed: int) -> Report:
    """Everything in one record."""
    return Report(
        trace=trace,
        requests=len(world.arrivals_s),
        seed=seed,
        seconds=float(world.arrivals_s[-1] - world.arrivals_s[0]),
        arrivals_per_s=mean_rate_per_s(world.arrivals_s),
        load=world.load,
        lanes=world.lanes,
        times=world.source.label,
        variants=tuple(VariantFacts(v.name, rank(v), world.service_s(v) * 1e3) for v in world.variants),
        bound=world.bound,
        policies=tuple(scores),
    )


def score(policy: str, played: Played, world: World) -> Score:
    """The figures of one run."""
    outcomes = played.outcomes
    met = [outcome for outcome in outcomes if outcome.met]
    rejected = sum(outcome.error is not None for outcome in outcomes)
    effective = sum(map(_accuracy, met)) / len(outcomes)
    p50_us, p99_us = np.percentile(np.array(played.events_s) * 1e6, (50, 99)).tolist()
    lane_s = world.lanes * (max(outcome.finished_s for outcome in outcomes) - float(world.arrivals_s[0]))
    return Score(
        policy=policy,
        attainment=_attainment(outcomes),
        serving_accuracy=_serving_accuracy(outcomes),
        effective_accuracy=effective,
        of_bound=effective / world.bound if world.bound else None,
        variants=_mix(outcomes, world),
        late=(len(outcomes) - len(met) - rejected) / len(outcomes),
        rejected=rejected / len(outcomes),
        terminated=played.terminated / len(outcomes),
        wasted=played.wasted_s / lane_s,
        budgets=_by_budget(outcomes, world),
        event_us_p50=p50_us,
        event_us_p99=p99_us,
    )


def _by_budget(outcomes: Sequence[Outcome], world: World) -> tuple[BudgetScore, ...]:
    grouped = len(np.unique(world.budgets_s)) > MOST_CLASSES
    classes: dict[float, list[Outcome]] = {}
    for outcome in outcomes:
        budget_ms = round(outcome.job.question.deadline.budget_s * 1e3, 6)
        classes.setdefault(_group(budget_ms) if grouped else budget_ms, []).append(outcome)
    return tuple(
        BudgetScore(budget_ms, len(ours), _attainment(ours), _serving_accuracy(ours), _mix(ours, world))
        for budget_ms, ours in sorted(classes.items())
    )


def _group(budget_ms: float) -> float:
    limit_ms = FIRST_GROUP_MS
    while budget_ms > limit_ms:
        limit_ms *= 2
    return limit_ms


def _attainment(outcomes: Sequence[Outcome]) -> Attainment:
    met = sum(outcome.met for outcome in outcomes)
    return Attainment(met / len(outcomes), *wilson(met, len(outcomes)))


def _serving_accuracy(outcomes: Sequence[Outcome]) -> float | None:
    accuracies = [_accuracy(outcome) for outcome in outcomes if outcome.met]
    return sum(accuracies) / len(accuracies) if accuracies else None


def _accuracy(outcome: Outcome) -> float:
    """Of an answer."""
    return 0.0 if outcome.decision is None else rank(outcome.decision.variant)


def _mix(outcomes: Sequence[Outcome], world: World) -> dict[str, float]:
    counts = Counter(outcome.decision.variant.name for outcome in outcomes if outcome.decision is not None)
    return {v.name: counts[v.name] / counts.total() for v in world.variants} if counts else {}
