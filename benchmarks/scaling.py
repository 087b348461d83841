"""One process against several workers on the same cores: `python -m benchmarks.scaling --store .store-untrained`.

Two servers, one process with a lane for each core and as many workers with a lane each, are asked in turns: some
clients that keep their connection and ask for B0 without a pause. For each there are answers a second, what clients
wait, and how much processor time the service spent on a request outside its lanes: the event loop and the protocols,
which one process has to do one at a time. How many lanes one loop carries follows from that (docs/scaling.md).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks import machine, photos, report
from benchmarks.clients import Client, GrpcClient, HttpClient
from benchmarks.report import Table, ms, say
from benchmarks.server import SETTLE_S, Server, plain_store, serving
from benchmarks.stats import Spread
from service.pipeline.cpus import usable_cores

VARIANT = "b0"
CLIENTS: dict[str, Callable[[Server], Client]] = {"http": HttpClient, "grpc": GrpcClient}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one server did in one turn."""

    workers: int
    protocol: str
    answers: int
    seconds: float
    latency_ms: list[float]
    loop_ms: float
    """Processor time for each answer, of threads that are no lanes."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def measure(store: Path, photo: bytes, *, turns: int, seconds: float, clients: int, calibrate_s: float) -> list[Turn]:
    """Both servers in turns, on both protocols."""
    cores = usable_cores()
    with ExitStack() as stack:
        servers = {
            workers: stack.enter_context(
                serving(store, calibrate_s=calibrate_s, lanes=cores, settings={"EFFSERVE_WORKERS_COUNT": str(workers)})
            )
            for workers in (1, cores)
        }
        done = []
        for number in range(turns):
            for workers in sorted(servers, reverse=number % 2 == 1):
                done += [_turn(servers[workers], workers, name, photo, seconds, clients) for name in CLIENTS]
                say(f"turn {number + 1} of {turns}: {workers} workers, {[round(one.rate, 1) for one in done[-2:]]}/s")
    return done


def _turn(server: Server, workers: int, protocol: str, photo: bytes, seconds: float, clients: int) -> Turn:
    latency_ms: list[float] = []
    with _asking(lambda: CLIENTS[protocol](server), photo, clients, latency_ms):
        # Meanwhile the other server had its turn, and nobody asked this one.
        time.sleep(SETTLE_S)
        first, before_s, started_s = len(latency_ms), _outside_lanes_s(server.pid), time.perf_counter()
        time.sleep(seconds)
        last, spent_s, took_s = (
            len(latency_ms),
            _outside_lanes_s(server.pid) - before_s,
            time.perf_counter() - started_s,
        )
    answers = last - first
    return Turn(workers, protocol, answers, took_s, latency_ms[first:last], spent_s * 1e3 / answers)


@contextmanager
def _asking(make: Callable[[], Client], photo: bytes, clients: int, latency_ms: list[float]) -> Iterator[None]:
    """So many clients ask for so long."""
    end = threading.Event()

    def ask() -> None:
        with closing(make()) as client:
            while not end.is_set():
                latency_ms.append(client.classify(photo, {"variant": VARIANT, "budget_ms": 60_000.0}).client_ms)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _outside_lanes_s(pid: int) -> float:
    """Processor time of all threads of the service that are no lanes: those give way, and so are told apart."""
    every = [thread for process in machine.family(pid) for thread in machine.threads(process)]
    return sum(thread.cpu_s for thread in every if not thread.gives_way)


def table(turns: list[Turn]) -> Table:
    """One row for each layout and protocol, and what several workers are worth, turn by turn."""
    groups: dict[tuple[str, int], list[Turn]] = {}
    for turn in turns:
        groups.setdefault((turn.protocol, turn.workers), []).append(turn)
    rows = [_row(*key, group) for key, group in sorted(groups.items())]
    notes = []
    for protocol in CLIENTS:
        one, several = (group for (name, _), group in sorted(groups.items()) if name == protocol)
        ratios = sorted(after.rate / before.rate for before, after in zip(one, several, strict=True))
        notes.append(f"{protocol} {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    note = f"Answers a second, workers ÷ one process, median of the turns: {', '.join(notes)}."
    headings = ("", "workers", "answers/s", "least", "most", "p50", "p99", "outside lanes")
    return Table("one process and several workers (ms)", headings, rows, note)


def _row(protocol: str, workers: int, turns: list[Turn]) -> list[str]:
    rates = sorted(turn.rate for turn in turns)
    spread = Spread.of([one for turn in turns for one in turn.latency_ms])
    loop = median(turn.loop_ms for turn in turns)
    figures = [f"{rate:.1f}" for rate in (median(rates), rates[0], rates[-1])]
    return [protocol, str(workers), *figures, ms(spread.median), ms(spread.p99), ms(loop)]


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0.")],
    turns: Annotated[int, typer.Option(min=1, help="Of each server.")] = 6,
    seconds: Annotated[float, typer.Option(min=1, help="Of each turn and protocol.")] = 8.0,
    clients: Annotated[int, typer.Option(min=1, help="Each with a connection of its own.")] = 4,
    calibrate_s: Annotated[float, typer.Option(help="For each variant at the start.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Measure, and print the table."""
    here, others = machine.describe(), list[machine.Others]()
    photo = photos.middle(photos.read(None))
    with plain_store(store, [VARIANT]) as plain, machine.watching("scaling", others):
        done = measure(plain, photo, turns=turns, seconds=seconds, clients=clients, calibrate_s=calibrate_s)
    report.show([report.machine_table(here), report.others_table(others), table(done)])
    if out is not None:
        sections = {"machine": asdict(here), "others": [asdict(o) for o in others]}
        report.write(out, sections | {"clients": clients, "turns": list(map(asdict, done))})
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
