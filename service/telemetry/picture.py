"""The operator's picture: what matters of a service's metrics, as values. How it looks is somebody else's business.

Levels (queue, lanes, what variants cost) are those of now; everything else is of the time since an earlier scrape, or
since the start.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from service.telemetry import table
from service.telemetry.scrape import Change, Scrape

STARTED = "process_start_time_seconds"
"""Of the client library: when the process began, as time of day."""


@dataclass(frozen=True, slots=True)
class VariantLine:
    """One variant: what it is worth, what it costs, what it did."""

    name: str
    top1: float | None
    trained: bool
    routed: bool
    expected_s: float
    tail_s: float
    answers_per_s: float
    share: float | None
    """Of all answers; None when there were none."""
    p50_s: float | None
    """First byte to response."""
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """What became of the budgets of one class."""

    budget: str
    outcomes: Mapping[str, float]
    """How many, by outcome."""

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.outcomes.values())


@dataclass(frozen=True, slots=True)
class LaneLine:
    """Lanes of one kind."""

    lanes: int
    busy: int
    """Now."""
    utilisation: float | None
    """Share of their time at work; None when there are none."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything."""

    version: str
    over_s: float
    """The time that rates and shares are of."""
    since_start: bool
    arrivals_per_s: float
    answers_per_s: float
    top1: float | None
    """Mean expected accuracy of the answers; None when there were none."""
    lost_top1: float | None
    """By how much it is less than it would have been without others."""
    slowdown: float
    waiting: int
    insured: int
    backlog_s: float
    wasted: float
    foreground: LaneLine
    background: LaneLine
    variants: tuple[VariantLine, ...]
    """Cheapest first."""
    budgets: tuple[BudgetLine, ...]
    """Tightest first; those that nobody asked for are left out."""
    failures: Mapping[str, float]
    """How many, by kind of error."""
    refused: int
    """Store entries that are not served."""


def is_ours(scrape: Scrape) -> bool:
    """Whether it is of a service like this one."""
    return table.INFO.exposed_name in scrape.samples


def started_at(scrape: Scrape) -> float:
    """When the process began: another one has another moment. Time of day, in seconds."""
    return scrape.value(STARTED)


def picture(change: Change) -> Picture:
    """What a change shows."""
    now = change.now
    answers = change.increase(table.ANSWERS.exposed_name)
    return Picture(
        version=next(labels["version"] for labels, _ in now.labelled(table.INFO.name)),
        over_s=change.seconds,
        since_start=change.before is None,
        arrivals_per_s=now.value(table.ARRIVALS.name),
        answers_per_s=answers / change.seconds,
        top1=_each(change.increase(table.TOP1.exposed_name), answers),
        lost_top1=_each(change.increase(table.LOST.exposed_name), answers),
        slowdown=now.value(table.SLOWDOWN.name),
        waiting=round(now.value(table.WAITING.name)),
        insured=round(now.value(table.INSURED.name)),
        backlog_s=now.value(table.BACKLOG.name),
        wasted=now.value(table.WASTED.name),
        foreground=_lanes(change, "foreground", now.value(table.LANES.name), now.value(table.BUSY.name)),
        background=_lanes(change, "background", now.value(table.BACKGROUND.name), now.value(table.UPGRADING.name)),
        variants=_variants(change, answers),
        budgets=_budgets(change),
        failures=_failures(change),
        refused=round(now.value(table.REFUSED.name)),
    )


def _lanes(change: Change, kind: str, lanes: float, busy: float) -> LaneLine:
    worked_s = change.increase(table.BUSY_SECONDS.exposed_name, lanes=kind)
    return LaneLine(round(lanes), round(busy), _each(worked_s, lanes * change.seconds))


def _variants(change: Change, answers: float) -> tuple[VariantLine, ...]:
    now = change.now
    answered = change.by("variant", table.ANSWERS.exposed_name)
    lines = (
        VariantLine(
            name=(name := labels["variant"]),
            top1=top1 or None,
            trained=labels["trained"] == "true",
            routed=now.value(table.ROUTED.name, variant=name) > 0,
            expected_s=now.value(table.EXPECTED.name, variant=name),
            tail_s=now.value(table.TAIL.name, variant=name),
            answers_per_s=answered.get(name, 0.0) / change.seconds,
            share=_each(answered.get(name, 0.0), answers),
            p50_s=change.quantile(0.5, table.TOTAL.name, variant=name),
            p99_s=change.quantile(0.99, table.TOTAL.name, variant=name),
        )
        for labels, top1 in now.labelled(table.VARIANT.name)
    )
    return tuple(sorted(lines, key=lambda line: line.expected_s))


def _budgets(change: Change) -> tuple[BudgetLine, ...]:
    lines = (
        BudgetLine(budget, change.by("outcome", table.BUDGETS.exposed_name, budget=budget))
        for budget in table.BUDGET_CLASSES.values()
    )
    return tuple(line for line in lines if line.total > 0)


def _failures(change: Change) -> dict[str, float]:
    outcomes = change.by("outcome", table.REQUESTS.exposed_name)
    return {outcome: count for outcome, count in outcomes.items() if outcome != "answered" and count > 0}


def _each(total: float, count: float) -> float | None:
    return total / count if count > 0 else None
