"""Figure 4: is the budget met, and what does it buy? One client, five budgets, both protocols, in random order.

A budget that the service itself says is too small now (`GET /plan`) is marked infeasible: best effort then answers
late with the cheapest variant, as promised, and meeting it is not expected.
"""

import random
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.clients import Client, GrpcClient, HttpClient, Reply
from benchmarks.report import Table, ms
from benchmarks.server import serving
from benchmarks.stats import Spread

BUDGETS_MS = (20.0, 50.0, 100.0, 200.0, 500.0)
PLAN_EVERY = 10
"""Rounds between two questions for the smallest feasible budget."""
Cell = tuple[str, float]
"""Protocol and budget."""


@dataclass(frozen=True, slots=True)
class BudgetFigures:
    """Of one budget over one protocol. Times in milliseconds."""

    protocol: str
    budget_ms: float
    feasible: bool
    smallest_feasible: Spread
    """As `GET /plan` said between the requests."""
    met: float
    """Share of answers within the budget, by the server's clock."""
    met_for_client: float
    """The same by the client's clock, which includes building and sending the answer."""
    total: Spread
    client_total: Spread
    chosen: dict[str, int]
    """Variant → answers."""


def measure(store: Path, photos: list[bytes], *, requests: int, calibrate_s: float) -> list[BudgetFigures]:
    """A fresh server with default settings. Each round asks for every budget over each protocol once."""
    with (
        serving(store, calibrate_s=calibrate_s) as server,
        closing(HttpClient(server)) as http,
        closing(GrpcClient(server)) as grpc,
    ):
        return _ask(http, grpc, photos, requests)


def _ask(http: HttpClient, grpc: GrpcClient, photos: list[bytes], rounds: int) -> list[BudgetFigures]:
    clients: dict[str, Client] = {http.name: http, grpc.name: grpc}
    cells: list[Cell] = list(product(clients, BUDGETS_MS))
    replies: dict[Cell, list[Reply]] = {cell: [] for cell in cells}
    smallest_ms = []
    # Random, so that no budget always follows the same other one; seeded, so that runs are alike.
    order = random.Random(0)
    for number in range(rounds):
        if number % PLAN_EVERY == 0:
            smallest_ms.append(http.smallest_feasible_ms(max(BUDGETS_MS)))
        for protocol, budget_ms in order.sample(cells, len(cells)):
            photo = photos[number % len(photos)]
            replies[protocol, budget_ms].append(clients[protocol].classify(photo, {"budget_ms": budget_ms}))
    return [_figures(cell, replies[cell], Spread.of(smallest_ms)) for cell in cells]


def _figures(cell: Cell, replies: list[Reply], smallest: Spread) -> BudgetFigures:
    protocol, budget_ms = cell
    return BudgetFigures(
        protocol=protocol,
        budget_ms=budget_ms,
        feasible=smallest.median <= budget_ms,
        smallest_feasible=smallest,
        met=sum(reply.met for reply in replies) / len(replies),
        met_for_client=sum(reply.client_ms <= budget_ms for reply in replies) / len(replies),
        total=Spread.of([reply.total_ms for reply in replies]),
        client_total=Spread.of([reply.client_ms for reply in replies]),
        chosen=dict(sorted(Counter(reply.variant for reply in replies).items())),
    )


def table(figures: list[BudgetFigures]) -> Table:
    """One row for each budget and protocol."""
    headings = ("budget", "", "runs", "met", "for the client", "total p50", "p99", "client p99", "variants chosen")
    smallest = figures[0].smallest_feasible
    note = f"Smallest feasible budget by GET /plan: {ms(smallest.median)} ms ({ms(smallest.p5)}–{ms(smallest.p95)})."
    ordered = sorted(figures, key=lambda one: (one.budget_ms, one.protocol))
    return Table("Budgets met, one client (ms)", headings, [_row(one) for one in ordered], note)


def _row(one: BudgetFigures) -> list[str]:
    return [
        f"{one.budget_ms:g}" + ("" if one.feasible else " (infeasible)"),
        one.protocol,
        str(one.total.runs),
        f"{one.met:.1%}",
        f"{one.met_for_client:.1%}",
        ms(one.total.median),
        ms(one.total.p99),
        ms(one.client_total.p99),
        ", ".join(f"{name} {count}" for name, count in one.chosen.items()),
    ]
