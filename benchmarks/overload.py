"""More than the machine can do: `python -m benchmarks.overload --store .store-untrained`.

The rate that the cheapest variant alone can carry is measured with a closed loop. Then schedules of that rate times
each load come open loop, from a process of its own: in turns to `k1`, to which all variants are open, and to the
cheapest variant by its name, both with the same shedding. Each turn counts the answers within their budgets a second
(goodput), and how long a refusal took: from when the request was sent, and from when it was to be sent, in which a
loader that shares the cores with the server is late as well.
"""

import asyncio
import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer

from benchmarks import machine, photos, report
from benchmarks.clients import Given
from benchmarks.realtime import record, wires
from benchmarks.realtime.loader import Sent, send
from benchmarks.realtime.plan import VARIANTS
from benchmarks.report import Table, ms, say
from benchmarks.server import Server, plain_store, serving
from benchmarks.stats import Spread
from service.pipeline.cpus import usable_cores
from service.simulation import traces
from service.simulation.traces import DEFAULT_MIX, Generated

CHEAPEST = VARIANTS[0]
ASKED: dict[str, Given] = {"k1": {"policy": "k1"}, CHEAPEST: {"variant": CHEAPEST}}
"""What requests say beside their budget, by who answers."""
CAPACITY_S = 6.0
WARM_UP_S = 2.0
"""Of each turn; requests of that time do not count."""
TIMEOUT_S = 120.0
GOAL_SHARE, GOAL_MS = 0.97, 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done."""

    loads: tuple[float, ...]
    budgets: str
    seconds: float
    """Of a turn, after the warm-up."""
    rounds: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of one schedule."""

    load: float
    policy: str
    goodput_per_s: float
    """Answers within their budgets, counted from the scheduled moment."""
    answered_per_s: float
    refused_ms: list[float]
    """From when it was sent until the refusal was there."""
    refused_late_ms: list[float]
    """The same from when it was to be sent."""
    refusals: dict[str, int]
    """By status."""
    lost: int
    """Requests to which the server said nothing."""


def measure(store: Path, bodies: Sequence[bytes], plan: Plan, *, calibrate_s: float) -> tuple[float, list[Turn]]:
    """What the cheapest variant carries, a second, and the turns."""
    with serving(store, calibrate_s=calibrate_s) as server, tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for number, body in enumerate(bodies):
            (pictures / f"{number:04}.jpg").write_bytes(body)
        capacity_per_s = _capacity_per_s(server, bodies, plan.protocol)
        say(f"{CHEAPEST} alone: {capacity_per_s:.1f} a second")
        turns = [
            _turn(server, pictures, plan, load, policy, rate_per_s=load * capacity_per_s, seed=seed)
            for seed, load, policy in _order(plan)
        ]
    return capacity_per_s, turns


def _order(plan: Plan) -> Iterator[tuple[int, float, str]]:
    """Who is first changes with the rounds; both have the same schedule."""
    for number in range(plan.rounds):
        policies = list(ASKED) if number % 2 == 0 else list(reversed(ASKED))
        yield from ((number, load, policy) for load, policy in itertools.product(plan.loads, policies))


def _capacity_per_s(server: Server, bodies: Sequence[bytes], protocol: str) -> float:
    pairs = zip(itertools.repeat(CHEAPEST), itertools.cycle(bodies), strict=False)
    clients = 2 * usable_cores()
    done = asyncio.run(record.busy(wires.to(server, protocol), pairs, clients=clients, seconds=CAPACITY_S))
    return len(done) / CAPACITY_S


def _turn(
    server: Server, pictures: Path, plan: Plan, load: float, policy: str, *, rate_per_s: float, seed: int
) -> Turn:
    say(f"load {load:g}, {policy} …")
    schedule = pictures.parent / "schedule.csv"
    schedule.write_text(_schedule(plan, rate_per_s, seed))
    loaded = send(
        server,
        schedule,
        bodies=pictures,
        protocol=plan.protocol,
        given=ASKED[policy],
        out=pictures.parent / "sent.json",
        timeout_s=plan.seconds + WARM_UP_S + TIMEOUT_S,
    )
    return turn_of([one for one in loaded.sent if one.at_s >= WARM_UP_S], load, policy, plan.seconds)


def _schedule(plan: Plan, rate_per_s: float, seed: int) -> str:
    draw = np.random.default_rng(seed)
    count = math.ceil(rate_per_s * (plan.seconds + WARM_UP_S))
    arrivals_s = Generated("poisson", count).arrivals_s(rate_per_s, draw)
    budgets_s, weights = zip(*traces.mix(plan.budgets), strict=True)
    drawn_s = draw.choice(budgets_s, count, p=np.asarray(weights) / sum(weights))
    lines = (f"{at_s:.6f},{budget_s * 1e3:g}" for at_s, budget_s in zip(arrivals_s, drawn_s, strict=True))
    return "\n".join(["arrival_s,budget_ms", *lines]) + "\n"


def turn_of(sent: Sequence[Sent], load: float, policy: str, seconds: float) -> Turn:
    """Counted."""
    answered = [one for one in sent if one.reply is not None]
    refused = [one for one in sent if one.reply is None and not one.lost]
    return Turn(
        load=load,
        policy=policy,
        goodput_per_s=sum(one.latency_s <= one.budget_s for one in answered) / seconds,
        answered_per_s=len(answered) / seconds,
        refused_ms=[(one.latency_s - one.lag_s) * 1e3 for one in refused],
        refused_late_ms=[one.latency_s * 1e3 for one in refused],
        refusals=dict(Counter(one.failure for one in refused)),
        lost=len(sent) - len(answered) - len(refused),
    )


def kept(turn: Turn) -> dict[str, object]:
    """For the result file: how refusals lie, not each of them."""
    told = asdict(turn)
    for name in ("refused_ms", "refused_late_ms"):
        took_ms = told[name]
        told[name] = asdict(Spread.of(took_ms)) if took_ms else None
    return told | {"refused_soon": sum(one < GOAL_MS for one in turn.refused_ms)}


def ratios(turns: Sequence[Turn], load: float) -> list[float]:
    """Goodput of `k1` over that of the cheapest variant, round by round."""
    ours, theirs = (
        [turn.goodput_per_s for turn in turns if turn.load == load and turn.policy == policy] for policy in ASKED
    )
    return [own / other for own, other in zip(ours, theirs, strict=True)]


def table(turns: Sequence[Turn], plan: Plan) -> Table:
    """One row for each load and policy."""
    rows = [_row(turns, load, policy) for load, policy in itertools.product(plan.loads, ASKED)]
    note = (
        f"Goodput: answers within their budgets ({plan.budgets} ms) a second, median of {plan.rounds} rounds; beside "
        f"{CHEAPEST}: median of the rounds and their range, wanted at least {GOAL_SHARE}. Refused: milliseconds from "
        f"sending to the refusal, wanted below {GOAL_MS:g}; from schedule: with what the loader was late."
    )
    headings = ("load", "policy", "goodput", f"÷ {CHEAPEST}", "range", "refusals", "p50", "p99", "most", "under 5 ms",
                "from schedule: p99", "lost")  # fmt: skip
    return Table(f"Overload over {plan.protocol}", headings, rows, note)


def _row(turns: Sequence[Turn], load: float, policy: str) -> list[str]:
    mine = [turn for turn in turns if turn.load == load and turn.policy == policy]
    beside = ratios(turns, load) if policy == "k1" else [1.0]
    refused_ms = [one for turn in mine for one in turn.refused_ms]
    late_ms = [one for turn in mine for one in turn.refused_late_ms]
    return [
        f"{load:g}", policy, f"{median(turn.goodput_per_s for turn in mine):.1f}", f"{median(beside):.3f}",
        f"{min(beside):.3f}–{max(beside):.3f}", str(len(refused_ms)), *_refusals(refused_ms),
        ms(Spread.of(late_ms).p99) if late_ms else "–", str(sum(turn.lost for turn in mine)),
    ]  # fmt: skip


def _refusals(took_ms: Sequence[float]) -> list[str]:
    if not took_ms:
        return ["–"] * 4
    spread, soon = Spread.of(took_ms), sum(one < GOAL_MS for one in took_ms) / len(took_ms)
    return [ms(spread.median), ms(spread.p99), ms(max(took_ms)), f"{soon:.1%}"]


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0–B4.")],
    loads: Annotated[str, typer.Option(help="Of the cheapest variant alone, between commas.")] = "1.1,1.3,1.5",
    budgets: Annotated[str, typer.Option(help="MS:WEIGHT,…")] = DEFAULT_MIX,
    seconds: Annotated[float, typer.Option(min=1, help="Of each turn.")] = 15.0,
    rounds: Annotated[int, typer.Option(min=1, help="Of all loads and policies.")] = 3,
    protocol: Annotated[str, typer.Option(help="http or grpc.")] = "http",
    calibrate_s: Annotated[float, typer.Option(help="For each variant at the start.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Measure, and print the table."""
    here, others = machine.describe(), list[machine.Others]()
    plan = Plan(tuple(map(float, loads.split(","))), budgets, seconds, rounds, protocol)
    with plain_store(store, VARIANTS) as plain, machine.watching("overload", others):
        capacity_per_s, turns = measure(plain, photos.read(None), plan, calibrate_s=calibrate_s)
    report.show([report.machine_table(here), report.others_table(others), table(turns, plan)])
    if out is not None:
        sections = {"machine": asdict(here), "others": [asdict(o) for o in others], "plan": asdict(plan)}
        report.write(out, sections | {"capacity_per_s": capacity_per_s, "turns": list(map(kept, turns))})
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
