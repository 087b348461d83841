"""Whether requests are answered, and in time: rate, errors, duration, budgets, queue, lanes, stages."""

from collections.abc import Iterator

from deploy.dashboards.panels import About, Panel, Query, Unit, heat, lines, number
from deploy.dashboards.promql import buckets, quantile, rate, recorded, series, total, worst
from service.telemetry import table
from service.telemetry.table import Spec

TITLE = "effserve: service"
DESCRIPTION = "Rate, errors and duration; budgets met, missed and shed; queue, lanes and the stages of a request."

BURNS = {"5m": "5 minutes", "1h": "an hour", "6h": "six hours", "3d": "three days"}
MET = rate(table.BUDGETS, 'outcome="met"', by="budget")
COUNTED = rate(table.BUDGETS, 'outcome=~"met|missed|shed|failed"', by="budget")
"""As the objective counts: see deploy/prometheus/recording.yml."""
STAGES: dict[str, Spec] = {
    "Receive": table.RECEIVE,
    "Queue": table.QUEUE,
    "Decode": table.DECODE,
    "Inference": table.INFERENCE,
    "Hold": table.HOLD,
    "Respond": table.RESPOND,
}


def rows() -> dict[str, list[Panel]]:
    """Panels by the row that they stand in."""
    return {
        "Now": list(_now()),
        "Rate, errors, duration": list(_requests()),
        "Budgets": list(_budgets()),
        "Queue and lanes": list(_lanes()),
        "Stages of a request": [_stage(name, spec) for name, spec in STAGES.items()],
        "Decisions and predictions": list(_decisions()),
    }


def _now() -> Iterator[Panel]:
    bad_below = ((None, "red"), (0.97, "green"))

    def small(title: str, description: str, unit: str) -> About:
        return About(title, description, unit, wide=4, high=4)

    yield number(
        small("Ready", "Instances that take requests.", Unit.PLAIN),
        Query(total(table.READY), "ready"),
        ((None, "red"), (1, "green")),
    )
    yield number(
        small("Answers", "Answers a second.", Unit.PER_SECOND), Query(recorded("effserve:answers:rate5m"), "answers")
    )
    yield number(
        small("Goodput", "Answers within their budget, a second.", Unit.PER_SECOND),
        Query(recorded("effserve:goodput:rate5m"), "goodput"),
    )
    yield number(
        small("Budgets met", "Of those that something could have met; the objective is 97 %.", Unit.SHARE),
        Query(recorded("effserve:objective_attainment:ratio_rate5m"), "met"),
        bad_below,
    )
    yield number(
        small("Backlog", "Predicted work that waits for each lane, on the worst instance.", Unit.SECONDS),
        Query(worst(table.BACKLOG), "backlog"),
        ((None, "green"), (0.5, "yellow"), (1, "red")),
    )
    yield number(
        small("Store entries refused", "Damaged or not to be run; the others are served.", Unit.PLAIN),
        Query(total(table.REFUSED), "refused"),
        ((None, "green"), (1, "yellow")),
    )


def _requests() -> Iterator[Panel]:
    yield lines(
        About("Requests", "Requests a second, by protocol.", Unit.PER_SECOND, wide=8),
        Query(rate(table.REQUESTS, by="protocol"), "{{protocol}}"),
        stacked=True,
    )
    yield lines(
        About(
            "Errors",
            "Requests without an answer, by kind; docs/errors.md says what each means. `internal` is a fault of the "
            "service, the others are not.",
            Unit.PER_SECOND,
            wide=8,
        ),
        Query(rate(table.REQUESTS, 'outcome!="answered"', by="outcome"), "{{outcome}}"),
        stacked=True,
    )
    yield lines(
        About("Duration", "First byte to response, of answers.", Unit.SECONDS, wide=8),
        *(Query(quantile(share, table.TOTAL), f"p{share * 100:g}") for share in (0.5, 0.9, 0.99)),
    )


def _budgets() -> Iterator[Panel]:
    yield lines(
        About(
            "What became of budgets",
            "`met`; `missed` (late); `unattainable` (nothing is so quick); `shed` (too much waits); `infeasible` "
            "(refused in strict mode); `failed` (a fault of the service).",
            Unit.PER_SECOND,
        ),
        Query(rate(table.BUDGETS, by="outcome"), "{{outcome}}"),
        stacked=True,
    )
    yield heat(
        About("Budgets asked for", "How many requests came with which budget.", Unit.SECONDS), buckets(table.BUDGET)
    )
    yield lines(
        About(
            "Budgets met, by class",
            "Of the budgets that something could have met.",
            Unit.SHARE,
        ),
        Query(f"{MET} / {COUNTED}", "{{budget}}"),
    )
    yield lines(
        About(
            "Error budget's burn rate",
            "How many times faster than the objective allows budgets are missed; alerts look at 14.4, 6, 3 and 1.",
            Unit.RATIO,
        ),
        *(
            Query(
                f"{recorded(f'effserve:budget_errors:ratio_rate{window}')} / scalar(effserve:budget_errors:objective)",
                f"over {words}",
            )
            for window, words in BURNS.items()
        ),
    )


def _lanes() -> Iterator[Panel]:
    yield lines(
        About(
            "Waiting", "Requests that wait for a lane, and those with an answer in hand that may be bettered.", "short"
        ),
        Query(total(table.WAITING), "waiting"),
        Query(total(table.INSURED), "answer in hand"),
    )
    yield lines(
        About("Lanes", "Lanes at work and there are; upgrades of `p2` and `p3` run behind them.", Unit.PLAIN),
        Query(total(table.BUSY), "at work"),
        Query(total(table.LANES), "lanes"),
        Query(total(table.UPGRADING), "upgrades"),
        Query(total(table.BACKGROUND), "background lanes"),
    )


def _stage(name: str, spec: Spec) -> Panel:
    return heat(About(name, spec.meaning, Unit.SECONDS, wide=8, high=7), buckets(spec))


def _decisions() -> Iterator[Panel]:
    yield lines(
        About("Why variants were chosen", "Answers a second by the reason of the decision.", Unit.PER_SECOND, wide=8),
        Query(rate(table.DECISIONS, by="reason"), "{{reason}}"),
        stacked=True,
    )
    yield lines(
        About(
            "Actual ÷ predicted",
            "1 is right. Predictions follow the machine: the second line is how much slower it is than at calibration.",
            Unit.RATIO,
            wide=8,
        ),
        Query(recorded("effserve:prediction_ratio:mean5m"), "actual ÷ predicted"),
        Query(series(table.SLOWDOWN), "machine, {{instance}}"),
    )
    yield lines(
        About(
            "Runs within their tail",
            "Share of the last 200 runs that kept the tail they were started with: 99 % is right.",
            Unit.SHARE,
            wide=8,
        ),
        Query(f"min by (variant) ({series(table.COVERAGE)})", "{{variant}}"),
    )
