"""Plays one cell: tune on training requests, then all policies on the others, compared request by request.

Neighbouring requests share a queue, so they are not independent. Intervals are therefore of means over blocks of
requests (batch means; Law & Kelton), ten blocks for each seed, and normal.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from benchmarks.scheduling.cells import FULL_LOAD, WARM_UP, Offer
from benchmarks.scheduling.contest import CONTESTANTS, K1, SWEPT, Choice, Contestant, space
from benchmarks.scheduling.labels import Labels
from benchmarks.scheduling.tuning import tuned
from service.core.catalogue import rank
from service.core.simulator import Outcome
from service.core.values import PolicyName
from service.evaluation.measures import Floats
from service.simulation.run import Played, World, play
from service.simulation.study import Cell, CellResult, Estimate, PolicyResult

BLOCKS = 10
"""For each seed."""
DIGITS = 5

Worth = Callable[[Outcome], float]
"""What an answer in time is worth: the accuracy known of its variant, or whether it is right."""


def known_accuracy(outcome: Outcome) -> float:
    """Of the variant that answered."""
    return 0.0 if outcome.decision is None else rank(outcome.decision.variant)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one policy made of the requests of one world, by request."""

    met: Floats
    """1 when it was answered in time."""
    worth: Floats
    """0 when it was not."""
    answers: Counter[str]
    rejected: int
    terminated: int
    """Runs that were stopped; like what follows, of the whole trace, with the warm-up."""
    played: int
    """Requests of the whole trace."""
    wasted_s: float
    lane_s: float
    events_s: "array[float]"

    @property
    def requests(self) -> int:
        """Those that count."""
        return len(self.met)


def sheet(played: Played, world: World, worth: Worth = known_accuracy) -> Sheet:
    """Request by request, without those of the warm-up; what cannot be told of single requests is of all."""
    count, first = len(world.arrivals_s), round(WARM_UP * len(world.arrivals_s))
    met, worths = np.zeros(count), np.zeros(count)
    for outcome in played.outcomes:
        if outcome.met:
            met[outcome.job.id], worths[outcome.job.id] = 1.0, worth(outcome)
    counted = [outcome for outcome in played.outcomes if outcome.job.id >= first]
    ends_s = max(outcome.finished_s for outcome in played.outcomes)
    return Sheet(
        met=met[first:],
        worth=worths[first:],
        answers=Counter(outcome.decision.variant.name for outcome in counted if outcome.decision is not None),
        rejected=sum(outcome.error is not None for outcome in counted),
        terminated=played.terminated,
        played=count,
        wasted_s=played.wasted_s,
        lane_s=world.lanes * (ends_s - float(world.arrivals_s[0])),
        events_s=played.events_s,
    )


def played_cell(cell: Cell, offer: Offer, labels: Labels | None = None) -> CellResult:
    """Everything about one cell. With `labels`, an answer is worth something when it is right about its image; without,
    what is known of its variant."""
    training, worlds = offer.training(cell), offer.judged(cell)
    worths: list[Worth] = [known_accuracy for _ in worlds]
    if labels is not None:
        drawn = [labels.drawn(world, seed) for world, seed in zip(worlds, offer.effort.seeds, strict=True)]
        worlds, worths = [world for world, _ in drawn], [worth for _, worth in drawn]
    common_s = offer.budget_s(cell)
    choices, sheets = dict[str, Choice](), dict[str, list[Sheet]]()
    taking_part = [one for one in CONTESTANTS if _takes_part(one, common_s, labels)]
    swept = SWEPT if cell.load <= FULL_LOAD else ()
    for contestant in (*taking_part, *swept):
        wanted = space(contestant, offer.catalogue, training.variants[0].name, scale=offer.scale, common_s=common_s)
        choice = choices[contestant.name] = tuned(wanted, lambda one: _effective(one, training))
        sheets[contestant.name] = [
            sheet(_played(choice, world, contestant.spends), world, worth)
            for world, worth in zip(worlds, worths, strict=True)
        ]
    bound = float(np.mean([world.bound for world in worlds]))

    def results(contestants: Iterable[Contestant]) -> tuple[PolicyResult, ...]:
        return tuple(
            _result(one, choices[one.name], sheets[one.name], sheets[K1], bound, worlds[0]) for one in contestants
        )

    requests = sum(one.requests for one in sheets[K1])
    return CellResult(cell, requests, round(bound, DIGITS), results(taking_part), results(swept))


def _takes_part(contestant: Contestant, common_s: float | None, labels: Labels | None) -> bool:
    return (common_s is not None or not contestant.common) and (labels is not None or not contestant.labelled)


def _played(choice: Choice, world: World, spends: PolicyName) -> Played:
    return play(choice.policy(world.catalogue), world, spends)


def _effective(choice: Choice, world: World) -> float:
    return float(sheet(_played(choice, world, PolicyName.K1), world).worth.mean())


def _result(
    contestant: Contestant, choice: Choice, ours: Sequence[Sheet], k1: Sequence[Sheet], bound: float, world: World
) -> PolicyResult:
    requests, answers = sum(one.requests for one in ours), sum((one.answers for one in ours), Counter[str]())
    met = sum(float(one.met.sum()) for one in ours)
    effective = estimate(one.worth for one in ours)
    rejected = sum(one.rejected for one in ours) / requests
    events_us = np.concatenate([np.array(one.events_s) for one in ours]) * 1e6
    p50_us, p99_us = np.percentile(events_us, (50, 99)).tolist()
    pairs = list(zip(k1, ours, strict=True))
    return PolicyResult(
        policy=contestant.name,
        ours=contestant.ours,
        parameters=choice.shown(contestant),
        attainment=estimate(one.met for one in ours),
        accuracy=round(sum(float(one.worth.sum()) for one in ours) / met, DIGITS) if met else None,
        effective=effective,
        of_bound=round(effective.value / bound, DIGITS),
        k1_attainment=estimate(one.met - other.met for one, other in pairs),
        k1_effective=estimate(one.worth - other.worth for one, other in pairs),
        variants={v.name: round(answers[v.name] / max(answers.total(), 1), DIGITS) for v in world.variants},
        late=round(1 - met / requests - rejected, DIGITS),
        rejected=round(rejected, DIGITS),
        terminated=round(sum(one.terminated for one in ours) / sum(one.played for one in ours), DIGITS),
        wasted=round(sum(one.wasted_s for one in ours) / sum(one.lane_s for one in ours), DIGITS),
        decision_us_p50=round(p50_us, 1),
        decision_us_p99=round(p99_us, 1),
    )


def estimate(seeds: Iterable[Floats]) -> Estimate:
    """Mean over all requests, with the interval of the blocks' means."""
    series = list(seeds)
    blocks = np.array([block.mean() for one in series for block in np.array_split(one, BLOCKS)])
    value = float(np.concatenate(series).mean())
    half = NormalDist().inv_cdf(0.975) * float(blocks.std(ddof=1)) / len(blocks) ** 0.5
    return Estimate(round(value, DIGITS), round(value - half, DIGITS), round(value + half, DIGITS))
