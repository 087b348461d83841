"""A comparison as tables and sentences for a terminal. Text only: who prints it decides how."""

from collections.abc import Iterator, Mapping

from service.simulation.score import Attainment, BudgetScore, Report, Score

Column = tuple[str, str]
"""(heading, justify)."""
Table = tuple[list[Column], list[list[str]]]
NONE = "–"


def headline(report: Report) -> str:
    """What was simulated."""
    return (
        f"{report.trace}: {report.requests} requests in {report.seconds:.0f} s, {_counted(report.lanes)}, "
        f"load {report.load:.2f}"
    )


def policies_table(report: Report) -> Table:
    """One row for each policy."""
    headings = (
        "attained % (95 %)", "accuracy %", "effective %", "of bound %", "late %", "rejected %", "terminated %",
        "wasted %", "event µs p50", "p99",
    )  # fmt: skip
    columns = [("policy", "left"), *((heading, "right") for heading in headings), ("answered by %", "left")]
    return columns, [_row(score) for score in report.policies]


def budgets_table(report: Report) -> Table:
    """One row for each policy, one column for each budget."""
    budgets = report.policies[0].budgets
    columns = [("policy", "left"), *((f"{budget.budget_ms:g} ms", "right") for budget in budgets)]
    return columns, [[score.policy, *map(_cell, score.budgets)] for score in report.policies]


def notes(report: Report) -> Iterator[str]:
    """What a reader of the tables has to know."""
    served = ", ".join(f"{v.name} {v.top1 * 100:.1f} % {v.service_ms:.1f} ms" for v in report.variants)
    yield f"Service times: {report.times}. {served}."
    yield (
        f"Bound: no scheduler could have more than {report.bound * 100:.2f} % effective accuracy here (mean over all "
        "requests, 0 for those not answered in time). Accuracies are the variants', not measured on these requests."
    )
    if any(score.policy == "p3" for score in report.policies):
        yield "p3: what was upgraded counts as the better variant alone, and nobody gains by who was chosen for it."
    yield "By budget: attained / accuracy of what was answered in time, %."


def _row(score: Score) -> list[str]:
    return [
        score.policy,
        _with_interval(score.attainment),
        _percent(score.serving_accuracy),
        _percent(score.effective_accuracy),
        _percent(score.of_bound),
        _percent(score.late),
        _percent(score.rejected),
        _percent(score.terminated),
        _percent(score.wasted),
        f"{score.event_us_p50:.0f}",
        f"{score.event_us_p99:.0f}",
        _mix(score.variants),
    ]


def _cell(budget: BudgetScore) -> str:
    return f"{_percent(budget.attainment.value)} / {_percent(budget.serving_accuracy)}"


def _mix(variants: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share * 100:.0f}" for name, share in variants.items() if share)


def _with_interval(share: Attainment) -> str:
    return f"{_percent(share.value)} ({_percent(share.low)}–{_percent(share.high)})"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:.2f}"


def _counted(lanes: int) -> str:
    return f"{lanes} lane{'' if lanes == 1 else 's'}"
