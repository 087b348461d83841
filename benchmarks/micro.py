"""Figure 5: single steps of the path in a loop, in this process: what telemetry, a decision, decoding, an answer cost.

`python -m benchmarks.micro` runs these alone. Steps take turns, so that a disturbance hits all of them; a sample is
the mean of a short batch, because one call is too short for the clock. A step alone in a loop has warm caches: in the
service the same step takes longer.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import photos, report
from benchmarks.stats import Spread
from benchmarks.steps import Step, every_step

BATCH_S = 0.005
"""Time of one batch: long against the clock's resolution, short against the scheduler's time slice."""
MOST_CALLS = 1_000
ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Micro:
    """Of one step, in microseconds for each call."""

    step: str
    time_us: Spread


def measure(images: list[bytes], *, rounds: int = ROUNDS) -> list[Micro]:
    """`rounds` samples of each step."""
    with every_step(images) as steps, _quiet_collector():
        calls = {name: _calls(step) for name, step in steps.items()}
        samples: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                samples[name].append(_mean_s(step, calls[name]) * 1e6)
    return [Micro(name, Spread.of(taken)) for name, taken in samples.items()]


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """What exists now is not walked again and again, as in the service."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _calls(step: Step) -> int:
    """How many fill a batch; the first call warms up."""
    step()
    return min(max(round(BATCH_S / _mean_s(step, 3)), 1), MOST_CALLS)


def _mean_s(step: Step, calls: int) -> float:
    started_s = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - started_s) / calls


def table(figures: list[Micro]) -> report.Table:
    """One row for each step."""
    rows = [
        (one.step, str(one.time_us.runs), *(_us(t) for t in (one.time_us.median, one.time_us.p5, one.time_us.p95)))
        for one in figures
    ]
    return report.Table("Single steps (µs)", ("", "batches", "p50", "p5", "p95"), rows, "Of the means of batches.")


def _us(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def main(
    folder: Annotated[Path | None, typer.Option("--photos", help="Folder of JPEGs; default: made pictures.")] = None,
) -> None:
    """Measure single steps of the path and print them."""
    report.show([table(measure(photos.read(folder)))])


if __name__ == "__main__":
    typer.run(main)
