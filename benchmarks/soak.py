"""Whether memory stays flat: `python -m benchmarks.soak --store .store-untrained` (10 minutes).

A real server gets mixed work from a few clients on both protocols: JPEG, PNG and WebP from thumbnails
to 12 megapixels, budgets from 20 ms to 2 s, now and then a named variant, a broken image, or a request that its client
gives up; meanwhile one variant is loaded and unloaded again and again. Once a second the server's memory, threads and
open files are read. The first third is for warming up; of the rest `trend.py` judges whether it grows.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import httpx
import typer
from pydantic import TypeAdapter

from benchmarks import machine, report
from benchmarks.clients import HOST
from benchmarks.machine import Machine, Others, status_mb
from benchmarks.report import Table, say
from benchmarks.server import Server, plain_store, serving, variants
from benchmarks.trend import Trend, trend
from service.client import Client, ClientError
from service.client.retrying import NEVER
from service.pipeline.image import encode_sample

SIZES_PX = ((160, 120), (800, 600), (1920, 1080), (4000, 3000))
BUDGETS_MS = (20, 50, 100, 500, 2000)
NAMED, BROKEN, GIVEN_UP = 0.1, 0.05, 0.05
"""Shares of the requests."""
GIVES_UP_S = 0.015
WARMING_UP = 1 / 3
CHANGE_TIMEOUT_S = 600.0
SETTINGS = {"EFFSERVE_STORE_CHANGES": "explicit"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done."""

    seconds: float
    clients: int
    pause_s: float
    """Of a client between two requests, on average: loading takes only time that nobody else needs."""
    change_s: float
    """Between two changes of what is served."""
    every_s: float
    """Between two samples."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment. Memory in MB (10⁶ bytes)."""

    at_s: float
    resident: float
    """VmRSS."""
    own: float
    """RssAnon: of that, what no file stands behind."""
    proportional: float
    """Pss: shared pages by their share."""
    threads: int
    files: int


@dataclass(frozen=True, slots=True)
class Results:
    """The sections of the JSON file."""

    machine: Machine
    others: list[Others]
    seconds: float
    variants: int
    graph_files_mb: float
    changes: int
    """Loads and unloads."""
    outcomes: dict[str, int]
    """Requests by how they ended."""
    trends: dict[str, Trend]
    """Of each figure, after warming up."""
    peak_mb: float
    """The largest resident set that there ever was, start included."""
    samples: list[Sample]


class Load:
    """Clients and whoever changes what is served, each on a thread of its own."""

    def __init__(self, server: Server, names: list[str], changed: str, plan: Plan) -> None:
        self._server = server
        self._plan = plan
        self._names = names
        self._changed = changed
        self._images = [encode_sample(kind, *size) for kind, size in product(("JPEG", "PNG", "WEBP"), SIZES_PX)]
        self._end = threading.Event()
        self.outcomes = Counter[str]()
        self.changes = 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Half of them over each protocol."""
        ports = (f"http://{HOST}:{self._server.http_port}", f"grpc://{HOST}:{self._server.grpc_port}")
        threads = [threading.Thread(target=self._ask, args=(ports[n % 2], n)) for n in range(self._plan.clients)]
        threads.append(threading.Thread(target=self._change))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _ask(self, url: str, number: int) -> None:
        drawn = random.Random(number)
        with Client(url, retries=NEVER) as client:
            while not self._end.is_set():
                body, named = drawn.choice(self._images), drawn.random() < NAMED
                if drawn.random() < BROKEN:
                    body = body[: len(body) // 3]
                deadline_s = GIVES_UP_S if drawn.random() < GIVEN_UP else 60.0
                try:
                    client.classify(
                        body,
                        budget_ms=drawn.choice(BUDGETS_MS),
                        variant=drawn.choice(self._names) if named else None,
                        deadline_s=deadline_s,
                    )
                    self.outcomes["answered"] += 1
                except ClientError as error:
                    self.outcomes[str(error.kind)] += 1
                self._end.wait(drawn.expovariate(1 / self._plan.pause_s))

    def _change(self) -> None:
        with httpx.Client(base_url=f"http://{HOST}:{self._server.http_port}", timeout=CHANGE_TIMEOUT_S) as client:
            while not self._end.wait(self._plan.change_s):
                verb = ("unload", "load")[self.changes % 2]
                client.post(f"/v2/repository/models/{self._changed}/{verb}").raise_for_status()
                self.changes += 1


def sample(pid: int, at_s: float) -> Sample:
    """Of a process. Raises `OSError` when it is gone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    pss_kb = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    folder = Path(f"/proc/{pid}")
    return Sample(
        round(at_s, 2),
        status_mb(pid, "VmRSS"),
        status_mb(pid, "RssAnon"),
        round(pss_kb * 1024 / 1e6, 1),
        sum(1 for _ in (folder / "task").iterdir()),
        sum(1 for _ in (folder / "fd").iterdir()),
    )


def measure(store: Path, plan: Plan) -> Results:
    """Raises `ServerError`, `httpx.HTTPError`."""
    here, others = machine.describe(), list[Others]()
    entries = variants(store)
    names = [entry.manifest.name for entry in entries]
    with ExitStack() as stack:
        stack.enter_context(machine.watching("soak", others))
        server = stack.enter_context(serving(store, calibrate_s=0.2, settings=SETTINGS))
        load = Load(server, names, names[len(names) // 2], plan)
        stack.enter_context(load.at_work())
        samples = list(_watched(server.pid, plan))
        peak_mb = status_mb(server.pid, "VmHWM")
    warm = [one for one in samples if one.at_s >= plan.seconds * WARMING_UP]
    times_s = [one.at_s for one in warm]
    figures = ("resident", "own", "proportional", "threads", "files")
    trends = {name: trend(times_s, [getattr(one, name) for one in warm]) for name in figures}
    graphs_mb = sum(entry.manifest.graph_bytes for entry in entries) / 1e6
    outcomes = dict(load.outcomes.most_common())
    return Results(
        here, others, plan.seconds, len(names), graphs_mb, load.changes, outcomes, trends, peak_mb, samples
    )  # fmt: skip


def _watched(pid: int, plan: Plan) -> Iterator[Sample]:
    """While the server is stopped, because somebody measures on a quiet machine, its time stands still."""
    ran_s = 0.0
    while ran_s < plan.seconds:
        if machine.state(pid) != "T":
            yield sample(pid, ran_s)
            ran_s += plan.every_s
        time.sleep(plan.every_s)


def read(path: Path) -> Results:
    """The file of an earlier run. Raises `ValueError`, `OSError`."""
    return TypeAdapter(Results).validate_json(path.read_bytes())


def tables(results: Results) -> list[Table]:
    """What became of each figure, and of the requests."""
    names = {
        "resident": "resident, MB", "own": "of that not shared, MB", "proportional": "proportional set, MB",
        "threads": "threads", "files": "open files",
    }  # fmt: skip
    rows = [_row(names[name], found) for name, found in results.trends.items()]
    asked = sum(results.outcomes.values())
    note = (
        f"{results.seconds:.0f} s, {asked} requests, {results.changes} loads and unloads; {results.variants} variants "
        f"of {results.graph_files_mb:.0f} MB; at most {results.peak_mb:.0f} MB, start included. Of the last two thirds."
    )
    ended = [[kind, str(count), f"{count / asked:.1%}"] for kind, count in results.outcomes.items()]
    headings = ("", "median", "slope an hour", "95 %", "growth", "peak, 1st and 2nd half", "flat")
    return [
        Table("Soak", headings, rows, note),
        Table("How its requests ended", ("", "requests", "share"), ended),
        report.machine_table(results.machine),
        report.others_table(results.others),
    ]


def _row(name: str, found: Trend) -> list[str]:
    peaks = " and ".join(f"{value:.0f}" for value in found.peaks)
    interval = f"{found.low:+.1f} to {found.high:+.1f}"
    verdict = "yes" if found.flat else "no"
    return [name, f"{found.typical:.0f}", f"{found.per_hour:+.1f}", interval, f"{found.growth:+.2%}", peaks, verdict]


def main(
    store: Annotated[Path, typer.Option(help="Model store with some of B0–B7.")],
    seconds: Annotated[float, typer.Option(min=3, help="How long.")] = 600.0,
    clients: Annotated[int, typer.Option(min=1, help="At a time.")] = 4,
    pause_s: Annotated[float, typer.Option(min=0.001, help="Of a client between two requests, on average.")] = 0.3,
    change_s: Annotated[float, typer.Option(min=0.1, help="Between two changes of what is served.")] = 15.0,
    every_s: Annotated[float, typer.Option(min=0.01, help="Between two samples.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Load a server, watch its memory, and print the tables. Exit status 1 when memory is not flat."""
    with plain_store(store) as plain:
        results = measure(plain, Plan(seconds, clients, pause_s, change_s, every_s))
    report.show(tables(results))
    if out is not None:
        report.write(out, asdict(results))
        say(f"written to {out}")
    if not all(found.flat for found in results.trends.values()):
        say("not flat: see above")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
