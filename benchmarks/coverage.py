"""Does the predicted tail hold what it promises? `python -m benchmarks.coverage [--times FILE] [--out FILE]`.

The service's latency model meets runs one after the other: it names its bound, gets to see what the run took, and
learns. Times are published medians with noise like a machine's, and runs that were measured (`--times`, a log as
`effserve simulate` reads it), drawn in blocks. Four spells: as calibrated, 1.6 times slower, as calibrated again, and
as calibrated with one variant noisier than all others. No clock and no machine is involved, except for the cost of
`observe`.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import TypeAdapter

from benchmarks import machine, report
from benchmarks.machine import Machine
from benchmarks.report import say
from benchmarks.stats import Spread
from service.core.latency import LatencyModel, Observation
from service.evaluation.measures import Floats
from service.simulation import times
from service.simulation.times import IMAGE_FORMAT, Source, TrueTimes

SLOWER = 1.6
FIRST = 100
"""Runs after a change that are looked at by themselves."""
RARE_SHARE = 0.03
"""Of runs go to the rarest variant, the most accurate; the others share the rest alike."""
NOISY = 1.5
"""Power of the ratios of the noisier variant: half as much again in logarithms."""
CORRELATION = 0.9
"""Of the noise that all variants share from one run to the next."""
SHARED = 0.5
"""Part of the noise's variance that is shared; the rest is each run's own."""
LEAST, MOST = 0.985, 0.995
LEAST_AFTER_SHIFT = 0.90
RUNS = 100_000
"""Of each spell but the slower one, which has a fifth."""
REPEATS = 200
"""Shifts that the coverage of the first runs after one is a mean over."""
SETTLE = 600
"""Runs before each of them: as many as the window holds."""


@dataclass(frozen=True, slots=True)
class Held:
    """What bounds did in one spell, for one variant or all."""

    spell: str
    variant: str
    runs: int
    coverage: float
    bound_to_median: float
    """Mean of bound ÷ what the variant usually takes then: a bound that holds is worth little if it is loose."""


@dataclass(frozen=True, slots=True)
class Shift:
    """The first runs after the machine changed its pace, over many such changes."""

    change: str
    coverage: float
    worst: float
    """Of the single changes: the 5 % worst have at most this."""
    bound_to_median: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """One run of this figure; a section of the JSON file."""

    source: str
    held: list[Held]
    shifts: list[Shift]
    observe_us: Spread
    reached: bool
    """Whether the stationary spell, with its rare variant, and the first runs after a slow-down are as promised."""


@dataclass(frozen=True, slots=True)
class Spell:
    """Runs in order, with the bound each had and what it took, over what its variant usually takes in that spell."""

    variants: Sequence[str]
    bounds: Floats
    ratios: Floats


class Machinery:
    """A latency model and the machine it predicts."""

    def __init__(self, source: Source, seed: int) -> None:
        self._source = source
        self._draw = np.random.default_rng(seed)
        self.names = sorted(source.calibration.inference_s, key=source.calibration.inference_s.__getitem__)
        self.model = LatencyModel(source.calibration)
        self.observe_s: list[float] = []

    def run(self, count: int, *, slower: float = 1.0, noisy: str | None = None) -> Spell:
        """So many runs of variants at random. `slower` multiplies all times, `noisy` has wider noise."""
        taken = self._source.draw(count, self._draw)
        chosen = self._draw.choice(len(self.names), count, p=_shares(len(self.names)))
        names = [self.names[index] for index in chosen.tolist()]
        bounds, ratios = np.empty(count), np.empty(count)
        for number, name in enumerate(names):
            usual_s = self._source.calibration.inference_s[name]
            ratio = taken.inference_s(number, name, self._source.calibration.lanes) / usual_s
            ratio = slower * (ratio**NOISY if name == noisy else ratio)
            bounds[number] = self.model.tail_s(name, 0.0) / usual_s / slower
            ratios[number] = ratio / slower
            self._observe(Observation(name, IMAGE_FORMAT, 0.0, 0.0, usual_s * ratio))
        return Spell(names, bounds, ratios)

    def _observe(self, run: Observation) -> None:
        started_s = time.perf_counter()
        self.model.observe(run)
        self.observe_s.append(time.perf_counter() - started_s)


def like_a_machine(published: str) -> Source:
    """Published medians with log-normal noise of which a part stays for some runs and strikes all variants alike."""
    plain = times.published(published)
    medians_s = plain.calibration.inference_s

    def draw(count: int, chance: np.random.Generator) -> TrueTimes:
        common = np.fromiter(_drifting(count, chance), float, count) * math.sqrt(SHARED)
        own = {name: chance.normal(0.0, math.sqrt(1 - SHARED), count) for name in medians_s}
        noise = {name: np.exp(times.NOISE * (common + own[name])) for name in medians_s}
        return TrueTimes({1: {name: median_s * noise[name] for name, median_s in medians_s.items()}})

    label = (
        f"{times.PUBLISHED[published].source}, log-normal noise, {SHARED:.0%} of it shared, correlation {CORRELATION}"
    )
    return Source(label, plain.calibration, draw)


def _drifting(count: int, chance: np.random.Generator) -> Iterator[float]:
    """A stationary autoregression of variance 1."""
    level = float(chance.normal())
    for step in chance.normal(0.0, math.sqrt(1 - CORRELATION**2), count).tolist():
        yield level
        level = CORRELATION * level + step


def _shares(count: int) -> Floats:
    return np.array([1.0]) if count == 1 else np.array([(1 - RARE_SHARE) / (count - 1)] * (count - 1) + [RARE_SHARE])


def measure(source: Source, *, runs: int = RUNS, repeats: int = REPEATS, seed: int = 0) -> Coverage:
    """All spells, and the first runs after `repeats` changes of pace."""
    subject = Machinery(source, seed)
    usual, slow, again = subject.run(runs), subject.run(max(runs // 5, FIRST), slower=SLOWER), subject.run(runs)
    held = [*by_variant("usual", usual), _held(f"{SLOWER:g} x slower", "all", slow), _held("again", "all", again)]
    held += by_variant(f"{subject.names[0]} noisier", subject.run(runs, noisy=subject.names[0]))
    shifts = after_shifts(source, repeats=repeats, seed=seed + 1)
    kept = all(LEAST <= one.coverage <= MOST for one in held if one.spell == "usual")
    reached = kept and shifts[0].coverage >= LEAST_AFTER_SHIFT
    return Coverage(source.label, held, shifts, Spread.of([1e6 * s for s in subject.observe_s]), reached)


def after_shifts(source: Source, *, repeats: int, seed: int) -> list[Shift]:
    """A model that has settled meets a slow-down, and later its end."""
    subject = Machinery(source, seed)
    slower, back = [], []
    for _ in range(repeats):
        subject.run(SETTLE)
        slower.append(subject.run(FIRST, slower=SLOWER))
        subject.run(SETTLE, slower=SLOWER)
        back.append(subject.run(FIRST))
    return [_shift(f"{SLOWER:g} x slower", slower), _shift("back", back)]


def by_variant(name: str, spell: Spell) -> list[Held]:
    """All runs of a spell, then those of each variant."""
    return [_held(name, "all", spell), *(_held(name, variant, spell) for variant in sorted(set(spell.variants)))]


def _held(name: str, variant: str, spell: Spell) -> Held:
    which = np.array([variant in ("all", one) for one in spell.variants])
    bounds, ratios = spell.bounds[which], spell.ratios[which]
    kept = float(np.mean(ratios <= bounds))
    return Held(name, variant, len(ratios), round(kept, 4), round(float(np.mean(bounds) / np.median(ratios)), 3))


def _shift(change: str, firsts: Sequence[Spell]) -> Shift:
    kept = [float(np.mean(spell.ratios <= spell.bounds)) for spell in firsts]
    looseness = float(np.mean([np.mean(spell.bounds) / np.median(spell.ratios) for spell in firsts]))
    return Shift(change, round(float(np.mean(kept)), 4), round(float(np.percentile(kept, 5)), 4), round(looseness, 3))


def tables(figures: Coverage) -> list[report.Table]:
    """Coverage by spell and variant, and after changes of pace."""
    rows = [(f"{one.spell}, {one.variant}", str(one.runs), *_cells(one)) for one in figures.held]
    note = f"{figures.source}. Wanted: {LEAST:.1%} to {MOST:.1%} of runs within their bound."
    firsts = [(one.change, *_cells(one), f"{one.worst:.1%}") for one in figures.shifts]
    cost = figures.observe_us
    learning = f"Learning from one run: {cost.median:.1f} µs, p99 {cost.p99:.1f} µs."
    return [
        report.Table("Runs within their bound", ("", "runs", "coverage", "bound ÷ median"), rows, note),
        report.Table(
            f"First {FIRST} runs after a change of pace", ("", "coverage", "bound ÷ median", "p5"), firsts, learning
        ),
    ]


def _cells(one: Held | Shift) -> tuple[str, str]:
    return f"{one.coverage:.2%}", f"{one.bound_to_median:.2f}"


@dataclass(frozen=True, slots=True)
class Results:
    """The sections of the JSON file."""

    machine: Machine
    coverage: list[Coverage]


def read(path: Path) -> Results:
    """The file of an earlier run. Raises `ValueError`, `OSError`."""
    return TypeAdapter(Results).validate_json(path.read_bytes())


def page_tables(results: Results) -> list[report.Table]:
    """In short, a column for each source of times: for a page."""
    columns = [_in_short(one) for one in results.coverage]
    rows = [(what, *(column[what] for column in columns)) for what in columns[0]]
    headings = ("", *(one.source.partition(",")[0] for one in results.coverage))
    note = (
        f"Share of runs within the tail that was predicted for them; wanted: {LEAST:.1%} to {MOST:.1%} of each variant "
        f"and {LEAST_AFTER_SHIFT:.0%} of the first {FIRST} runs after the machine gets slower."
    )
    return [report.Table("Estimator", headings, rows, note), report.machine_table(results.machine)]


def _in_short(one: Coverage) -> dict[str, str]:
    usual = [held for held in one.held if held.spell == "usual"]
    whole, variants, shifts = usual[0], usual[1:], {shift.change: shift for shift in one.shifts}
    slower = next(held for held in one.held if held.spell.endswith("slower"))
    noisy = next(held for held in one.held if held.spell == f"{held.variant} noisier")
    first = f"first {FIRST} runs"
    return {
        "all runs": f"{whole.coverage:.2%}",
        "the variant with the least, the one with the most": " to ".join(
            f"{find(held.coverage for held in variants):.2%}" for find in (min, max)
        ),
        f"machine {slower.spell}": f"{slower.coverage:.2%}",
        f"{first}, machine {one.shifts[0].change}": f"{one.shifts[0].coverage:.2%}",
        f"{first} after it recovered": f"{shifts['back'].coverage:.2%}",
        "a variant half as noisy again": f"{noisy.coverage:.2%}",
        "bound ÷ median": f"{whole.bound_to_median:.2f}",
    }


def main(
    logged: Annotated[Path | None, typer.Option("--times", help="Log of measured runs, as CSV or JSON.")] = None,
    out: Annotated[Path | None, typer.Option(help="Result file; default: benchmarks/results/coverage-….json")] = None,
    runs: Annotated[int, typer.Option(min=FIRST, help="Runs of each spell.")] = RUNS,
    repeats: Annotated[int, typer.Option(min=1, help="Changes of pace.")] = REPEATS,
) -> None:
    """Measure how well predicted tails hold, and print it."""
    here = machine.describe()
    sources = [like_a_machine(name) for name in times.PUBLISHED] + ([] if logged is None else [times.logged(logged)])
    results = Results(here, [measure(source, runs=runs, repeats=repeats) for source in sources])
    report.show([report.machine_table(here), *(table for one in results.coverage for table in tables(one))])
    path = out or report.default_path(here, "coverage")
    report.write(path, asdict(results))
    say(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
