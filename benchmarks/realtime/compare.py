"""One definition of what counts, for both sides, and how far apart they are.

A request is *met* when its answer is there within its budget, counted from the moment it was to be sent: the client's
view. The server's own verdict counts from the first byte it sees to the answer it hands over, so it sees neither a late
loader nor a first byte that waits for a busy event loop. It stands beside.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.realtime.loader import Sent

ATTAINMENT_APART = 0.005
ACCURACY_APART = 0.002
"""How far apart real and simulated may be: half a point of attainment, a fifth of a point of accuracy."""
LAG_SHARE = 0.05
"""Of the smallest budget: a run whose loader was later than this at p99 does not count."""
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one request, on either side."""

    budget_s: float
    variant: str | None
    """Who answered; None when nobody did."""
    latency_s: float
    """From the scheduled moment to the answer; infinite without one."""
    met_for_server: bool
    terminated: bool

    @property
    def met(self) -> bool:
        """In the client's view."""
        return self.latency_s <= self.budget_s


def real(sent: Sent) -> Fate:
    """From what the loader saw."""
    reply = sent.reply
    if reply is None:
        return Fate(sent.budget_s, None, math.inf, met_for_server=False, terminated=False)
    return Fate(sent.budget_s, reply.variant, sent.latency_s, met_for_server=reply.met, terminated=reply.terminated)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run on one side; shares are of all requests."""

    attainment: float
    accuracy: float
    """Mean over those met of what is known of the variant that answered; 0 when none was met."""
    attainment_for_server: float
    unanswered: float
    terminated: float
    """Answers after a run for the request had to make room."""
    variants: dict[str, float]
    """Share of the answers."""

    @classmethod
    def of(cls, fates: Sequence[Fate], ranks: Mapping[str, float]) -> "Figures":
        """Raises `statistics.StatisticsError` when there are none."""
        answered = Counter(fate.variant for fate in fates if fate.variant is not None)
        accuracies = [ranks[fate.variant] for fate in fates if fate.met and fate.variant is not None]
        return cls(
            attainment=mean(fate.met for fate in fates),
            accuracy=mean(accuracies) if accuracies else 0.0,
            attainment_for_server=mean(fate.met_for_server for fate in fates),
            unanswered=mean(fate.variant is None for fate in fates),
            terminated=mean(fate.terminated for fate in fates),
            variants={name: answered[name] / answered.total() for name in ranks} if answered else {},
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Real and simulated, on the same schedule."""

    run: str
    requests: int
    real: Figures
    simulated: Figures
    """Means over the replays."""
    attainment_range: tuple[float, float]
    """Of single replays: what chance alone does."""
    accuracy_range: tuple[float, float]
    attainment_apart: float
    """Real less simulated."""
    accuracy_apart: float
    for_server_apart: float
    """Attainment by the server's verdict."""
    lag_p99_s: float
    lost: int
    """Requests that the server said nothing about."""
    valid: bool
    """Whether the loader kept to the schedule and no request was lost."""
    accepted: bool
    """Whether the run is valid and both differences are small enough."""


def compare(
    run: str, sent: Sequence[Sent], replays: Sequence[Sequence[Fate]], ranks: Mapping[str, float], *, lag_p99_s: float
) -> Comparison:
    """`sent` and each replay are of the same requests."""
    ours, played = Figures.of([real(one) for one in sent], ranks), [Figures.of(fates, ranks) for fates in replays]
    together = mean_of(played)
    attainment, accuracy = ours.attainment - together.attainment, ours.accuracy - together.accuracy
    lost = sum(one.lost for one in sent)
    valid = lost == 0 and lag_p99_s <= LAG_SHARE * min(one.budget_s for one in sent)
    return Comparison(
        run=run,
        requests=len(sent),
        real=ours,
        simulated=together,
        attainment_range=_range([one.attainment for one in played]),
        accuracy_range=_range([one.accuracy for one in played]),
        attainment_apart=attainment,
        accuracy_apart=accuracy,
        for_server_apart=ours.attainment_for_server - together.attainment_for_server,
        lag_p99_s=lag_p99_s,
        lost=lost,
        valid=valid,
        accepted=valid and close(attainment, accuracy),
    )


def close(attainment_apart: float, accuracy_apart: float) -> bool:
    """Whether real and simulated agree."""
    return abs(attainment_apart) <= ATTAINMENT_APART + ROUNDING and abs(accuracy_apart) <= ACCURACY_APART + ROUNDING


def mean_of(played: Sequence[Figures]) -> Figures:
    """Figure by figure."""
    return Figures(
        attainment=mean(one.attainment for one in played),
        accuracy=mean(one.accuracy for one in played),
        attainment_for_server=mean(one.attainment_for_server for one in played),
        unanswered=mean(one.unanswered for one in played),
        terminated=mean(one.terminated for one in played),
        variants={name: mean(one.variants.get(name, 0.0) for one in played) for name in played[0].variants},
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)
