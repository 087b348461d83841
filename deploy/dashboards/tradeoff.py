"""What accuracy costs, and what load makes of it: the dashboard to look at first."""

from collections.abc import Iterator

from deploy.dashboards.panels import About, Column, Panel, Query, Unit, against, by_variant, lines, number
from deploy.dashboards.promql import quantile, rate, recorded, series, worst
from service.core.policy import MOST_LOST
from service.core.scheduler import LOSS_WINDOW_S
from service.telemetry import table

TITLE = "effserve: trade-off"
DESCRIPTION = "Accuracy against latency and cost: what each variant offers, what budgets buy, what load takes away."

MEAN = recorded("effserve:accuracy:mean5m")
LOST = recorded("effserve:accuracy_lost:mean5m")
TOP1 = Column("expected top-1", worst(table.VARIANT, by="variant"), Unit.SHARE)
ROUTED = f"{worst(table.ROUTED, by='variant')} == 1"
FRONT = Column("Pareto front", f"{TOP1.expr} and {ROUTED}", Unit.SHARE)
TAIL = Column("p99 of a run", worst(table.TAIL, by="variant"), Unit.SECONDS)
EXPECTED = Column("expected run", worst(table.EXPECTED, by="variant"), Unit.SECONDS)
P99 = Column("p99 of requests", recorded("effserve:variant_request_seconds:p99_5m"), Unit.SECONDS)
PRICE_OF_A_LANE = f"({series(table.THREADS)} * {series(table.PRICE)})"
RUN_COST = Column(
    "cost of 1,000 runs",
    f"1000 / 3600 * max by (variant) ({series(table.EXPECTED)} * on (job, instance) group_left () {PRICE_OF_A_LANE})",
    Unit.PLAIN,
)
"""As predicted for a picture of 0.2 megapixels, so that variants compare; what was paid depends on who got which."""
COST = Column("cost of 1,000", recorded("effserve:variant_cost:per_1000"), Unit.PLAIN)
SHARE = Column(
    "share of answers",
    f"{rate(table.ANSWERS, by='variant')} / scalar({rate(table.ANSWERS)})",
    Unit.SHARE,
)


def rows() -> dict[str, list[Panel]]:
    """Panels by the row that they stand in."""
    return {
        "Now": list(_now()),
        "Variants": list(_variants()),
        "What budgets buy": [_mix(budget) for budget in table.BUDGET_CLASSES.values()],
        "Under load": list(_load()),
    }


def _now() -> Iterator[Panel]:
    def stat(title: str, unit: str, expr: str, description: str) -> Panel:
        return number(About(title, description, unit, wide=4, high=4), Query(expr, title))

    yield stat("Effective accuracy", Unit.SHARE, MEAN, "Mean expected top-1 of the answers of five minutes.")
    yield stat(
        "Accuracy lost to load",
        Unit.SHARE,
        LOST,
        "By how much that is below what the same requests would have got one by one.",
    )
    yield stat("Latency, p99", Unit.SECONDS, quantile(0.99, table.TOTAL), "First byte to response, of all answers.")
    yield stat(
        "Budgets met",
        Unit.SHARE,
        recorded("effserve:objective_attainment:ratio_rate5m"),
        "Of the budgets that something could have met. The objective is 97 %.",
    )
    yield stat(
        "Expected to be right",
        Unit.PER_SECOND,
        recorded("effserve:accuracy_weighted_answers:rate5m"),
        "Answers a second × their expected accuracy.",
    )
    yield stat(
        "Cost of 1,000 answers",
        Unit.PLAIN,
        recorded("effserve:cost_used:per_1000"),
        "By the CPU time of the process, at `telemetry.price_per_core_hour`.",
    )


def _variants() -> Iterator[Panel]:
    yield against(
        About(
            "Accuracy against p99",
            "A point for each variant: its expected top-1 against the tail of its decode + inference, as predicted. "
            "The line is the Pareto front that budgets choose from; a variant below it is never chosen.",
            Unit.SHARE,
            high=10,
        ),
        TAIL,
        TOP1,
        FRONT,
    )
    yield against(
        About(
            "Accuracy against cost",
            "The same against what 1,000 of its runs cost, by the cores that they keep from others, for pictures "
            "of 0.2 megapixels. What answers did cost stands in the table.",
            Unit.SHARE,
            high=10,
        ),
        RUN_COST,
        TOP1,
        FRONT,
    )
    yield by_variant(
        About("Variants", "What each offers, what it does, and what that costs.", Unit.PLAIN, wide=24),
        TOP1,
        EXPECTED,
        TAIL,
        P99,
        COST,
        SHARE,
        Column("budgets choose it", worst(table.ROUTED, by="variant"), Unit.PLAIN),
        Column("parameters", worst(table.PARAMS, by="variant"), Unit.PLAIN),
        Column("multiply-adds", worst(table.RUN_MACS, by="variant"), Unit.PLAIN),
    )


def _mix(budget: str) -> Panel:
    bound = "Budgets longer than 500 ms" if budget == "longer" else f"Budgets up to {budget.removesuffix('ms')} ms"
    return lines(
        About(bound, "Which variants answered them. Under load the same budget buys less.", Unit.SHARE, wide=8, high=7),
        Query(rate(table.ANSWERS, f'budget="{budget}"', by="variant"), "{{variant}}"),
        share=True,
    )


def _load() -> Iterator[Panel]:
    yield lines(
        About(
            "Effective accuracy over time",
            "What answers are worth, and what they would be worth had each request been alone. The gap is what a "
            "further lane could buy back.",
            Unit.SHARE,
        ),
        Query(MEAN, "as answered"),
        Query(f"{MEAN} + {LOST}", "one by one"),
        from_zero=False,
    )
    yield lines(
        About(
            "Accuracy lost, by budget",
            "Expected top-1 lost to load: sum over the answers of a second.",
            Unit.PLAIN,
        ),
        Query(rate(table.LOST, by="budget"), "{{budget}}"),
        stacked=True,
    )
    yield lines(
        About(
            "Downgraded answers",
            "Answers less accurate than the same request would have got alone, by what answered.",
            Unit.PER_SECOND,
        ),
        Query(rate(table.DOWNGRADED, by="variant"), "{{variant}}"),
        stacked=True,
    )
    yield lines(
        About(
            "Time given up for the urgent",
            "Share of the lanes' time that went into runs which were then terminated.",
            Unit.SHARE,
        ),
        Query(worst(table.WASTED), "terminated"),
    )
    yield lines(
        About(
            "Requests lost to load",
            f"Share of the requests of the last {LOSS_WINDOW_S:g} s that were refused or late and would have been in "
            f"time alone. Above {MOST_LOST * 100:g} % the cheapest variant answers first, and better ones follow in "
            "spare time.",
            Unit.SHARE,
        ),
        Query(worst(table.LOSSES), "lost"),
    )
