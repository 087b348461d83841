"""What loading a large variant costs a small one: `python -m benchmarks.hotload --store .store-untrained`.

Requests that name the neighbour come by a Poisson process, open loop, from a process of its own. Quiet phases, in which
nothing is loaded, take turns with phases in which the large variant is loaded and unloaded without a pause, through the
repository API. Each phase has a p50 and a p99 of the latency as the client has it, counted from the scheduled moment;
each hot phase is compared with the quiet one before it. The ratio that is promised is at most 1.5.
"""

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated

import httpx
import typer

from benchmarks import machine, photos, report
from benchmarks.clients import HOST
from benchmarks.realtime.loader import Sent, send
from benchmarks.report import Table, ms, say
from benchmarks.server import SETTLE_S, Server, plain_store, serving
from benchmarks.stats import Spread

BUDGET_MS = 10_000
TIMEOUT_S = 300.0
GOAL = 1.5
CHANGES = {"EFFSERVE_STORE_CHANGES": "explicit"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done."""

    neighbour: str
    loaded: str
    rate_per_s: float
    seconds: float
    """Of a phase, after the first `SETTLE_S`, which do not count: between two phases nobody asks for anything."""
    pairs: int
    protocol: str


@dataclass(slots=True)
class Phase:
    """What one came to."""

    hot: bool
    latency_ms: list[float]
    failures: list[str]
    """Why requests have no answer."""
    loads_s: list[float] = field(default_factory=list)
    """From asking for the large variant until it was served."""
    unloads_s: list[float] = field(default_factory=list)
    """From asking until it was free."""


class Changer:
    """Loads and unloads without a pause, on a thread of its own."""

    def __init__(self, server: Server, variant: str) -> None:
        self._client = httpx.Client(base_url=f"http://{HOST}:{server.http_port}", timeout=TIMEOUT_S)
        self._variant = variant

    def change(self, verb: str) -> float:
        """Seconds it took. Raises `httpx.HTTPStatusError` when the server did not do it."""
        started_s = time.perf_counter()
        self._client.post(f"/v2/repository/models/{self._variant}/{verb}").raise_for_status()
        return time.perf_counter() - started_s

    @contextmanager
    def at_work(self, phase: Phase) -> Iterator[None]:
        """It is unloaded before and afterwards."""
        end = threading.Event()

        def work() -> None:
            while not end.is_set():
                phase.loads_s.append(self.change("load"))
                phase.unloads_s.append(self.change("unload"))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


def measure(store: Path, bodies: list[bytes], plan: Plan, *, calibrate_s: float) -> list[Phase]:
    """Quiet and hot phases in turns, the first pair not counted."""
    with serving(store, calibrate_s=calibrate_s, settings=CHANGES) as server, tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(bodies):
            (Path(folder) / "bodies").mkdir(exist_ok=True)
            (Path(folder) / "bodies" / f"{number}.jpg").write_bytes(body)
        changer = Changer(server, plan.loaded)
        changer.change("unload")
        phases = [_phase(server, changer, Path(folder), plan, number) for number in range(2 * plan.pairs + 2)]
    return phases[2:]


def _phase(server: Server, changer: Changer, folder: Path, plan: Plan, number: int) -> Phase:
    phase, schedule = Phase(number % 2 == 1, [], []), folder / "schedule.csv"
    schedule.write_text(_schedule(plan, seed=number))
    if phase.hot:
        with changer.at_work(phase):
            sent = _sent(server, schedule, plan)
    else:
        sent = _sent(server, schedule, plan)
    counted = [one for one in sent if one.at_s >= SETTLE_S]
    phase.latency_ms = [one.latency_s * 1e3 for one in counted if one.reply is not None]
    phase.failures = [one.failure for one in counted if one.reply is None]
    return phase


def _sent(server: Server, schedule: Path, plan: Plan) -> tuple[Sent, ...]:
    load = send(
        server,
        schedule,
        bodies=schedule.parent / "bodies",
        protocol=plan.protocol,
        given={"variant": plan.neighbour},
        out=schedule.parent / "sent.json",
        timeout_s=plan.seconds + TIMEOUT_S,
    )
    return load.sent


def _schedule(plan: Plan, seed: int) -> str:
    """Gaps are exponential."""
    draw, at_s, lines = random.Random(seed), 0.0, ["arrival_s,budget_ms"]
    while (at_s := at_s + draw.expovariate(plan.rate_per_s)) < SETTLE_S + plan.seconds:
        lines.append(f"{at_s:.6f},{BUDGET_MS}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What loading costs."""

    quiet: Spread
    hot: Spread
    p50_ratio: float
    p99_ratio: float
    """Of all hot requests over all quiet ones."""
    p99_ratios: tuple[float, ...]
    """Of each hot phase over the quiet one before it."""
    load_s: float
    unload_s: float
    """Medians."""
    changes: int
    unanswered: int


def compared(phases: list[Phase]) -> Comparison:
    """Quiet and hot ones take turns."""
    spreads = [Spread.of(phase.latency_ms) for phase in phases]
    quiet, hot = (
        Spread.of([one for p in phases if p.hot is wanted for one in p.latency_ms]) for wanted in (False, True)
    )
    loads_s = [seconds for phase in phases for seconds in phase.loads_s]
    unloads_s = [seconds for phase in phases for seconds in phase.unloads_s]
    return Comparison(
        quiet=quiet,
        hot=hot,
        p50_ratio=hot.median / quiet.median,
        p99_ratio=hot.p99 / quiet.p99,
        p99_ratios=tuple(after.p99 / before.p99 for before, after in zip(spreads[::2], spreads[1::2], strict=True)),
        load_s=median(loads_s),
        unload_s=median(unloads_s),
        changes=len(loads_s) + len(unloads_s),
        unanswered=sum(len(phase.failures) for phase in phases),
    )


def table(plan: Plan, phases: list[Phase], found: Comparison) -> Table:
    """One row for each phase, and the ratios below."""
    rows = [
        [
            "loading" if phase.hot else "quiet", str(spread.runs), ms(spread.median), ms(spread.p95), ms(spread.p99),
            str(len(phase.loads_s)), str(len(phase.failures)),
        ]
        for phase, spread in ((phase, Spread.of(phase.latency_ms)) for phase in phases)
    ]  # fmt: skip
    ratios = sorted(found.p99_ratios)
    note = (
        f"All phases: p50 {found.p50_ratio:.2f} times, p99 {found.p99_ratio:.2f} times that of quiet ones; p99 pair by "
        f"pair {median(ratios):.2f} at the median, {ratios[0]:.2f} to {ratios[-1]:.2f}; wanted: at most {GOAL}. "
        f"Loading took {found.load_s:.2f} s, unloading {found.unload_s * 1e3:.0f} ms (medians). "
        f"Without an answer: {found.unanswered}."
    )
    what = f"{plan.neighbour} at {plan.rate_per_s:g}/s over {plan.protocol}"
    title = f"{what} while {plan.loaded} is loaded and unloaded (ms)"
    return Table(title, ("", "answers", "p50", "p95", "p99", "loads", "unanswered"), rows, note)


def main(
    store: Annotated[Path, typer.Option(help="Model store with both variants.")],
    neighbour: Annotated[str, typer.Option(help="What requests name.")] = "b0",
    loaded: Annotated[str, typer.Option(help="What is loaded and unloaded.")] = "b4",
    rate: Annotated[float, typer.Option(min=0.1, help="Requests a second.")] = 20.0,
    seconds: Annotated[float, typer.Option(min=1, help="Of each phase.")] = 20.0,
    pairs: Annotated[int, typer.Option(min=1, help="Of a quiet and a hot phase.")] = 5,
    protocol: Annotated[str, typer.Option(help="http or grpc.")] = "http",
    calibrate_s: Annotated[float, typer.Option(help="For each variant at the start.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Measure, and print the table."""
    here, others = machine.describe(), list[machine.Others]()
    plan = Plan(neighbour, loaded, rate, seconds, pairs, protocol)
    with plain_store(store, [neighbour, loaded]) as plain, machine.watching("hotload", others):
        phases = measure(plain, photos.read(None), plan, calibrate_s=calibrate_s)
    found = compared(phases)
    report.show([report.machine_table(here), report.others_table(others), table(plan, phases, found)])
    if out is not None:
        sections = {"machine": asdict(here), "others": [asdict(o) for o in others], "plan": asdict(plan)}
        report.write(out, sections | {"found": asdict(found), "phases": list(map(asdict, phases))})
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
