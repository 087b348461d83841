"""Service times, recorded on the running server: what its lanes report, while clients keep one of them or all busy.

So a run is what a lane does in service (decode and inference, executor and session as they are), with everything beside
it that takes from the same cores: the event loop, log lines, and a client process that sends and reads as the loader
does. Per busy lane and second there are about as many requests as in a run of `k1`, because the variants are mixed.

With all lanes busy the queue is never empty: there are twice as many clients as lanes. What a lane then waits between
two runs is the price of dispatching one. Variants are interleaved in short turns, so that other work on the machine
strikes all of them alike.
"""

import asyncio
import csv
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, median

from benchmarks import machine
from benchmarks.clients import Reply
from benchmarks.realtime.wires import Answer, Wire

PATIENT_MS = 60_000.0
"""A budget that nothing overdraws: no recorded run may depend on a decision."""
LEAST_RUNS = 2_000
"""Of the cheapest variant on each level, where its share of the time allows it."""
MOST_SHARE = 0.4
"""Of the time, for these."""
TURN = 200
"""Runs after which the order of variants begins anew."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the log: a run, in seconds. The columns that a simulation reads, and `outside_s`."""

    variant: str
    busy: int
    seconds: float
    """Decode and inference."""
    receive_s: float
    """From the first byte to the admission."""
    dispatch_s: float
    """Time that a run keeps its lane beside running; with all lanes busy the mean of the recording."""
    respond_s: float
    """From then on to the answer."""
    outside_s: float
    """What a client waits beyond the server's own total: network, sending the answer, the client's process."""
    arrival_s: float
    """What a run takes longer for each request that comes meanwhile; mean of the recording."""
    per_s: float
    """Requests a second that came in this half of the recording."""


@dataclass(frozen=True, slots=True)
class Done:
    """A run with the moment its answer was there."""

    reply: Reply
    at_s: float

    @property
    def run_s(self) -> float:
        """Decode and inference."""
        return (self.reply.decode_ms + self.reply.inference_ms) / 1e3

    @property
    def outside_s(self) -> float:
        """See `Row`."""
        return (self.reply.client_ms - self.reply.total_ms) / 1e3

    @property
    def on_lane(self) -> tuple[float, float]:
        """When it ran, by the client's clock, but for what of `outside_s` came before the first byte."""
        end_s = self.at_s - self.outside_s - self.reply.respond_ms / 1e3
        return end_s - self.run_s, end_s


def record(
    connect: Callable[[], Wire],
    bodies: Sequence[bytes],
    costs_s: Mapping[str, float],
    *,
    lanes: int,
    seconds: float,
    pid: int,
) -> list[Row]:
    """Half of the time with one lane busy, half with all. `costs_s`: what runs of each variant take, about; `pid`: of
    the server.

    What is neither a lane's work nor idle is that of the event loop, the server's first thread, and of the clients in
    this process. They take it from all lanes alike, where these have all cores.
    """
    pairs = zip(itertools.cycle(turn(costs_s, seconds / 2)), itertools.cycle(bodies), strict=False)
    alone = asyncio.run(busy(connect(), pairs, clients=1, seconds=seconds / 2))
    hand_over_s = median(done.reply.queue_ms for done in alone) / 1e3
    per_s = len(alone) / (seconds / 2)
    rows = [_row(done, 1, done.reply.queue_ms / 1e3, 0.0, arrival_s=0.0, per_s=per_s) for done in alone]
    if lanes == 1:
        return rows
    before_s = machine.first_thread_cpu_s(pid) + time.process_time()
    together = asyncio.run(busy(connect(), pairs, clients=2 * lanes, seconds=seconds / 2))
    spent_s = machine.first_thread_cpu_s(pid) + time.process_time() - before_s
    arrival_s, per_s = spent_s / len(together) / lanes, len(together) / (seconds / 2)
    dispatch_s = max(idle_s(together, lanes), hand_over_s)
    noticed_s = dispatch_s - hand_over_s
    return rows + [_row(done, lanes, dispatch_s, noticed_s, arrival_s=arrival_s, per_s=per_s) for done in together]


def turn(costs_s: Mapping[str, float], seconds: float) -> list[str]:
    """Variants in an even mixture: enough runs of the cheapest, and for the others the same time each."""
    cheapest = min(costs_s, key=lambda name: costs_s[name])
    equal = 1 / len(costs_s)
    first = max(min(LEAST_RUNS * costs_s[cheapest] / seconds, MOST_SHARE), equal)
    rest = (1 - first) / max(len(costs_s) - 1, 1)
    rates = {name: (first if name == cheapest else rest) / cost_s for name, cost_s in costs_s.items()}
    runs = {name: max(round(TURN * rate / sum(rates.values())), 1) for name, rate in rates.items()}
    places = [((number + 0.5) / count, name) for name, count in runs.items() for number in range(count)]
    return [name for _, name in sorted(places)]


async def busy(wire: Wire, pairs: Iterator[tuple[str, bytes]], *, clients: int, seconds: float) -> list[Done]:
    """Closed loop: each client sends its next request when it has its answer. Runs in order of their answers.

    `pairs` of variant and body never end. Raises `RuntimeError` for a request that is refused.
    """
    clock, answers = asyncio.get_running_loop().time, list[tuple[Answer, float, float]]()
    until_s = clock() + seconds

    async def client() -> None:
        while (sent_s := clock()) < until_s:
            variant, body = next(pairs)
            answer = await wire.ask(body, {"variant": variant, "budget_ms": PATIENT_MS})
            answers.append((answer, clock() - sent_s, clock()))

    await wire.open()
    await asyncio.gather(*(client() for _ in range(clients)))
    await wire.close()
    return [_done(*one) for one in answers]


def _done(answer: Answer, took_s: float, at_s: float) -> Done:
    reply = answer(took_s * 1e3)
    if isinstance(reply, str):
        raise RuntimeError(f"a request of the recording was refused: {reply}")
    return Done(reply, at_s)


def idle_s(done: Sequence[Done], lanes: int) -> float:
    """What a lane waits between two runs, in the mean, while the queue is not empty. Raises `ValueError` for too few.

    Counted from the first to the last answer but for as many as there are clients: before and after, lanes wait for
    want of requests.
    """
    edge = 2 * lanes
    if len(done) <= 2 * edge:
        raise ValueError(f"{len(done)} runs are too few to tell how long lanes wait between them")
    from_s, to_s = done[edge].on_lane[1], done[-edge].on_lane[0]
    inside = [(max(start_s, from_s), min(end_s, to_s)) for start_s, end_s in (one.on_lane for one in done)]
    worked_s = sum(max(end_s - start_s, 0.0) for start_s, end_s in inside)
    started = sum(from_s <= one.on_lane[0] < to_s for one in done)
    return (lanes * (to_s - from_s) - worked_s) / started


def _row(done: Done, level: int, dispatch_s: float, noticed_s: float, *, arrival_s: float, per_s: float) -> Row:
    """`noticed_s`: the part of dispatching that comes after the run, which is also part of responding."""
    reply = done.reply
    respond_s = max(reply.respond_ms / 1e3 - noticed_s, 0.0)
    return Row(
        reply.variant, level, done.run_s, reply.receive_ms / 1e3, dispatch_s, respond_s, done.outside_s,
        arrival_s, per_s,
    )  # fmt: skip


COLUMNS = tuple(field.name for field in fields(Row))


def append(path: Path, rows: Iterable[Row]) -> None:
    """To the log, which begins with the names of its columns."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerows({name: _short(value) for name, value in asdict(row).items()} for row in rows)


def read(path: Path) -> list[Row]:
    """The log. Raises `OSError`."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(_parsed(csv.DictReader(file)))


def _parsed(lines: Iterable[Mapping[str, str]]) -> Iterator[Row]:
    for line in lines:
        numbers = {name: float(line[name]) for name in COLUMNS if name.endswith("_s") or name == "seconds"}
        yield Row(line["variant"], int(line["busy"]), **numbers)


def _short(value: object) -> object:
    """Microseconds are enough."""
    return f"{value:.6f}" if isinstance(value, float) else value


def mean_s(rows: Iterable[Row], variant: str, level: int) -> float:
    """Of the runs of a variant on a level. Raises `statistics.StatisticsError` when there are none."""
    return mean(row.seconds for row in rows if (row.variant, row.busy) == (variant, level))
