"""How much more would go: throughput, headroom, utilisation, cost, memory."""

from collections.abc import Iterator

from deploy.dashboards.panels import About, Panel, Query, Unit, lines, number
from deploy.dashboards.promql import WINDOW, Process, process, rate, recorded, series, total, worst
from service.telemetry import table

TITLE = "effserve: capacity"
DESCRIPTION = "Throughput, headroom and utilisation; what answers cost; memory."

ANSWERS = recorded("effserve:answers:rate5m")
CAPACITY = recorded("effserve:capacity:answers")
UTILISATION = recorded("effserve:lanes:utilisation5m")
BUSY = rate(table.BUSY_SECONDS, 'lanes="foreground"')


def rows() -> dict[str, list[Panel]]:
    """Panels by the row that they stand in."""
    return {
        "Now": list(_now()),
        "Throughput": list(_throughput()),
        "Cost": list(_cost()),
        "Memory and machine": list(_machine()),
    }


def _now() -> Iterator[Panel]:
    def small(title: str, description: str, unit: str) -> About:
        return About(title, description, unit, wide=4, high=4)

    yield number(
        small(
            "Headroom",
            "Share of the capacity that is left: how many more answers there could be, all by the cheapest variant.",
            Unit.SHARE,
        ),
        Query(f"1 - {ANSWERS} / {CAPACITY}", "headroom"),
        ((None, "red"), (0.1, "yellow"), (0.3, "green")),
    )
    yield number(
        small("Utilisation", "Share of the lanes' time at work.", Unit.SHARE), Query(UTILISATION, "utilisation")
    )
    yield number(small("Cores", "Cores that the processes may use.", Unit.PLAIN), Query(total(table.CORES), "cores"))
    yield number(small("Lanes", "Runs at the same time.", Unit.PLAIN), Query(total(table.LANES), "lanes"))
    yield number(
        small("Cost, cores reserved", "Of 1,000 answers, by all cores of the processes.", Unit.PLAIN),
        Query(recorded("effserve:cost_reserved:per_1000"), "reserved"),
    )
    yield number(
        small("Memory", "Resident, of the largest process.", Unit.BYTES),
        Query(f"max({process(Process.MEMORY)})", "resident"),
    )


def _throughput() -> Iterator[Panel]:
    yield lines(
        About(
            "Throughput against capacity",
            "Answers a second, those within their budget, and how many there could be by the cheapest variant.",
            Unit.PER_SECOND,
        ),
        Query(ANSWERS, "answers"),
        Query(recorded("effserve:goodput:rate5m"), "within budget"),
        Query(CAPACITY, "capacity"),
        Query(total(table.ARRIVALS), "arrivals"),
    )
    yield lines(
        About("Answers by variant", "Answers a second.", Unit.PER_SECOND),
        Query(recorded("effserve:variant_answers:rate5m"), "{{variant}}"),
        stacked=True,
    )
    yield lines(
        About(
            "Utilisation of lanes",
            "Full lanes are no fault as long as budgets are met: spare time is spent on accuracy.",
            Unit.SHARE,
        ),
        Query(UTILISATION, "five minutes"),
        Query(f"{BUSY} / {total(table.LANES)}", "now"),
    )
    yield lines(
        About(
            "Predicted backlog",
            "Work that waits for each lane. Who would be late by more than `limits.patience_ms` is refused.",
            Unit.SECONDS,
        ),
        Query(series(table.BACKLOG), "{{instance}}"),
    )


def _cost() -> Iterator[Panel]:
    yield lines(
        About(
            "Cost of 1,000 answers",
            "By the CPU time used, and by the cores reserved, at `telemetry.price_per_core_hour`.",
            Unit.PLAIN,
            wide=8,
        ),
        Query(recorded("effserve:cost_used:per_1000"), "used"),
        Query(recorded("effserve:cost_reserved:per_1000"), "reserved"),
    )
    yield lines(
        About(
            "Cost of 1,000 answers, by variant",
            "By the time on cores of the runs that answered.",
            Unit.PLAIN,
            wide=8,
        ),
        Query(recorded("effserve:variant_cost:per_1000"), "{{variant}}"),
    )
    yield lines(
        About("Cores at work, by variant", "Seconds on cores a second, of the runs that answered.", Unit.PLAIN, wide=8),
        Query(recorded("effserve:variant_core_seconds:rate5m"), "{{variant}}"),
        stacked=True,
    )


def _machine() -> Iterator[Panel]:
    yield lines(
        About("Memory", "Resident, by process, and the bytes of all graphs that it serves.", Unit.BYTES, wide=8),
        Query(process(Process.MEMORY), "resident, {{instance}}"),
        Query(total(table.GRAPH_BYTES, by="instance"), "graphs, {{instance}}"),
    )
    yield lines(
        About("CPU", "Cores at work, by process, and cores that it may use.", Unit.PLAIN, wide=8),
        Query(f"rate({process(Process.CPU)}[{WINDOW}])", "at work, {{instance}}"),
        Query(series(table.CORES), "usable, {{instance}}"),
    )
    yield lines(
        About("Open files", "Connections are files, too; the process may open so many.", Unit.PLAIN, wide=8),
        Query(process(Process.FILES), "open, {{instance}}"),
        Query(process(Process.FILES_LIMIT), "limit, {{instance}}"),
    )
    yield lines(
        About("Multiply-adds", "Spent on answers, a second.", Unit.MACS),
        Query(rate(table.MACS, by="variant"), "{{variant}}"),
        stacked=True,
    )
    yield lines(
        About("Loading", "How long each variant's session took to open at the start.", Unit.SECONDS),
        Query(worst(table.LOAD, by="variant"), "{{variant}}"),
    )
