"""What runs take in truth: drawn before a simulation, once for each request and variant.

Whoever asks again for the same request and variant gets the same answer. So a request that is run again after a
termination meets the same noise, all policies meet the same noise, and the oracle knows it in advance.

Measured runs are drawn in blocks, the same ones for all variants, so that bad moments last as long as they did and
strike all alike (block bootstrap: Künsch 1989; circular, as Politis & Romano 1992, so that none is drawn less often).
"""

import csv
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np

from service.core.latency import WINDOW, Calibration, DecodeCost
from service.evaluation.measures import Floats
from service.pipeline.calibration import STOP_MARGIN
from service.simulation.errors import SimulationError
from service.simulation.overheads import DrawOverheads, measured

BLOCK = 50
"""Runs drawn in one piece: bad moments of a machine last for some runs."""
IMAGE_FORMAT = "JPEG"
"""Of all images."""
TAIL_RATIO = 1.25
"""p99 ÷ median of the noise given to published medians; RAMSIS' own CPU timings have 1.15 to 1.40."""
NOISE = math.log(TAIL_RATIO) / NormalDist().inv_cdf(0.99)
"""Standard deviation of its logarithm."""
QUANTILES = 200
"""Ratios that a latency model begins with where nothing was calibrated."""
USUAL_STOP_S = 0.002
"""How long a terminated run goes on: measured for B7, which is the slowest to notice (2.2 ms; B0 0.5 ms)."""

Runs = Mapping[int, Mapping[str, Floats]]
"""Busy lanes → variant → seconds of single runs, in the order they were measured."""


@dataclass(frozen=True, slots=True)
class Published:
    """Medians of single runs on a CPU, in milliseconds, as somebody else measured them."""

    source: str
    medians_ms: Mapping[str, float]


PUBLISHED: Mapping[str, Published] = {
    "proteus": Published(
        "Proteus (ASPLOS 2024), ONNX Runtime on a CPU",
        {"b0": 26.5, "b1": 37.7, "b3": 57.1, "b5": 120.8, "b7": 239.6},
    ),
    "ramsis": Published(
        "RAMSIS (EuroSys 2024), PyTorch on a CPU",
        {"b0": 44.3, "b1": 58.3, "b2": 57.8, "b3": 69.6, "b4": 90.9, "b5": 121.5, "b6": 149.8, "b7": 201.9},
    ),
}


class TrueTimes:
    """Seconds of inference by request, variant and how many lanes are busy, the run's own among them."""

    def __init__(self, seconds: Runs) -> None:
        self._levels = sorted(seconds)
        self._seconds = [{name: runs.tolist() for name, runs in seconds[level].items()} for level in self._levels]
        stacked = {name: np.stack([seconds[level][name] for level in self._levels]) for name in self._seconds[-1]}
        self.least: dict[str, list[float]] = {name: runs.min(axis=0).tolist() for name, runs in stacked.items()}
        """On the level at which each run is quickest: nobody can do better."""
        self.mean_s = {name: float(seconds[self._levels[-1]][name].mean()) for name in self._seconds[-1]}
        """With all lanes busy."""

    @property
    def depends_on_load(self) -> bool:
        """Whether it matters how many lanes are busy."""
        return len(self._levels) > 1

    def inference_s(self, request: int, variant: str, busy: int) -> float:
        """Of the level measured with as many lanes busy, or with fewer where that was not measured."""
        level = max(bisect_right(self._levels, busy) - 1, 0)
        return float(self._seconds[level][variant][request])


@dataclass(frozen=True, slots=True)
class Source:
    """Where service times come from."""

    label: str
    """For the report: whose they are."""
    calibration: Calibration
    """What the latency model begins with, as after a start of the server."""
    draw: Callable[[int, np.random.Generator], TrueTimes]
    """For so many requests."""
    decode_s: float = 0.0
    """Of each image."""
    overheads: DrawOverheads | None = None
    """What requests take beside their runs; None: nothing."""

    @property
    def stop_s(self) -> float:
        """What a terminated run takes to stop, in truth."""
        return (self.calibration.terminate_s or 0.0) / STOP_MARGIN


def published(name: str) -> Source:
    """Published medians with independent log-normal noise."""
    found = PUBLISHED[name]
    medians_s = {variant: median_ms / 1e3 for variant, median_ms in found.medians_ms.items()}
    ratios = [math.exp(NOISE * NormalDist().inv_cdf((number + 0.5) / QUANTILES)) for number in range(QUANTILES)]

    def draw(count: int, chance: np.random.Generator) -> TrueTimes:
        noise = {variant: np.exp(chance.normal(0.0, NOISE, count)) for variant in medians_s}
        return TrueTimes({1: {variant: median_s * noise[variant] for variant, median_s in medians_s.items()}})

    label = f"published medians, {found.source}, with made-up noise (log-normal, p99 {TAIL_RATIO:g} x median)"
    return Source(label, _calibration(medians_s, ratios), draw)


def logged(path: Path) -> Source:
    """Measured runs of a file.

    CSV with the columns `variant`, `busy` (lanes) and `seconds`, or JSON as {variant: {busy: [seconds, …]}}, each in
    the order of measuring. The columns of `overheads.COLUMNS` are read where they are there. Raises `SimulationError`,
    `OSError`.
    """
    runs = _read(path)
    all_busy, lanes = runs[max(runs)], max(runs)
    medians_s = _medians_s(all_busy)
    share = WINDOW // len(all_busy)
    ratios = [ratio for name, seconds in all_busy.items() for ratio in (seconds[:share] / medians_s[name]).tolist()]
    label = f"measured runs of {path.name}, drawn in blocks of {BLOCK}"
    alone_s = _medians_s(runs[1]) if 1 in runs and lanes > 1 else {}
    calibration = replace(_calibration(medians_s, ratios), alone_s=alone_s, lanes=lanes)
    return Source(label, calibration, _bootstrap(runs), overheads=measured(path))


def calibrated(calibration: Calibration, *, lanes: int, decode_s: float) -> Source:
    """What a start of the server measured on so many lanes: each variant's usual time, times the ratios of all."""
    ratios = np.array(calibration.ratios)
    levels = {calibration.lanes: calibration.inference_s} | ({1: calibration.alone_s} if calibration.alone_s else {})
    runs = {busy: {name: usual_s * ratios for name, usual_s in usual.items()} for busy, usual in levels.items()}
    label = f"calibration of this machine with {lanes} lanes busy, {len(ratios)} runs drawn in blocks of {BLOCK}"
    return Source(label, calibration, _bootstrap(runs), decode_s)


def _medians_s(runs: Mapping[str, Floats]) -> dict[str, float]:
    return {name: float(np.median(seconds)) for name, seconds in runs.items()}


def _calibration(medians_s: Mapping[str, float], ratios: Sequence[float]) -> Calibration:
    return Calibration(medians_s, {IMAGE_FORMAT: DecodeCost(0.0, 0.0)}, tuple(ratios), USUAL_STOP_S * STOP_MARGIN)


def _bootstrap(runs: Runs) -> Callable[[int, np.random.Generator], TrueTimes]:
    def draw(count: int, chance: np.random.Generator) -> TrueTimes:
        starts = chance.random(math.ceil(count / BLOCK))
        return TrueTimes(
            {
                busy: {name: seconds[_blocks(starts, len(seconds))[:count]] for name, seconds in level.items()}
                for busy, level in runs.items()
            }
        )

    return draw


def _blocks(starts: Floats, length: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Positions of the runs: blocks that begin at these shares of a log of that length, which closes to a circle."""
    first = np.floor(starts * length).astype(np.intp)
    return np.asarray((first[:, None] + np.arange(BLOCK)) % length).reshape(-1)


def _read(path: Path) -> Runs:
    try:
        rows = list(_json_rows(path) if path.suffix == ".json" else _csv_rows(path))
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise SimulationError(f"{path} is no log of runs (variant, busy, seconds): {error}") from error
    found: dict[int, dict[str, list[float]]] = {}
    for variant, busy, seconds in rows:
        if not (0 < seconds < math.inf and busy >= 1):
            raise SimulationError(f"{path}: a run of {variant} with {busy} busy lanes took {seconds:g} seconds")
        found.setdefault(busy, {}).setdefault(variant, []).append(seconds)
    if not found:
        raise SimulationError(f"{path} has no runs")
    names = {variant for level in found.values() for variant in level}
    for busy, level in found.items():
        if missing := names - set(level):
            raise SimulationError(f"{path} has no runs of {', '.join(sorted(missing))} with {busy} busy lanes")
    return {busy: {name: np.array(level[name]) for name in sorted(level)} for busy, level in found.items()}


_Row = tuple[str, int, float]


def _csv_rows(path: Path) -> Iterable[_Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            yield row["variant"], int(row["busy"]), float(row["seconds"])


def _json_rows(path: Path) -> Iterable[_Row]:
    content = json.loads(path.read_text(encoding="utf-8"))
    for variant, levels in content.items():
        for busy, runs in levels.items():
            for seconds in runs:
                yield variant, int(busy), float(seconds)
