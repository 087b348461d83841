"""Start-up calibration: what decode and inference take on this machine, with every lane busy and with one.

Measured once per graph, CPU, runtime version and lane layout, then kept in a file, so that a warm start measures
nothing. All lanes run at the same time because that is how the service runs under load: shared caches and memory
bandwidth make a lone run look cheaper than it will be. How much cheaper a lone run is, is measured in the same turns,
with half as many runs.

Other work on the machine must not make one variant look dearer than another, or a cheap one would count as dominated,
never be chosen, and never be measured again. So the variants are measured in turns, several times around, and a base
is the *smallest* time, which other work can hardly touch, times the one factor by which runs of all variants usually
exceed their smallest. Where a run stays on its thread, that is the thread's processor time, in which waiting for a core
does not count; what runs took by the clock fills the window of ratios, so that a start beside other work is careful.
"""

import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter

from service.core.latency import Calibration, DecodeCost, VariantCost
from service.core.values import ImageHeader, Source
from service.pipeline import termination
from service.pipeline.termination import Stoppable

PASSES = 2
"""Turns that each variant gets."""
MIN_RUNS, MAX_RUNS = 2, 20
"""Runs per lane, variant and pass, after one that is not counted."""
MOST_RATIO = 2.0
"""Longer runs were other work on the machine; whether that is its habit, live runs will tell."""
SCHEMA_VERSION: Literal[6] = 6
DISTURBED_SHARE = 0.1
"""Of the time of runs, waiting for a core: above it the start says so."""
STOP_MARGIN = 2.0
"""Terminated runs stop within this many times their usual time to stop, nearly always."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One variant to measure."""

    name: str
    graph_sha256: str
    input_size_px: int
    session: Stoppable


@dataclass(frozen=True, slots=True)
class _Run:
    """What one took."""

    seconds: float
    """By the clock."""
    own_s: float
    """Without waiting for a core, where that can be told."""


@dataclass(frozen=True, slots=True)
class DecodeSample:
    """An image with its header, to measure decoding with."""

    header: ImageHeader
    body: Source


_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _Measured:
    base_s: _Positive
    """Usual time of one run."""
    ratios: tuple[_Positive, ...]
    stop_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    """Usual time until a terminated run has stopped; None when it does not."""
    alone_s: _Positive | None
    """Usual time of one run with no other lane at work; None with a single lane, where all runs are such."""


_Part = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _Cost:
    """A `DecodeCost`, checked."""

    fixed_s: _Part
    per_megapixel_s: _Part
    knee_megapixels: _Part
    per_megapixel_beyond_s: _Part


@dataclass(slots=True)
class _Content:
    """The file, as JSON."""

    schema: Literal[6]
    fingerprint: str
    variants: dict[str, _Measured] = field(default_factory=dict)
    decode: dict[Literal["quick", "exact"], dict[str, _Cost]] = field(default_factory=dict)
    """By the way in which pixels are made, and by format."""


_CONTENT = TypeAdapter(_Content)


class CalibrationFile:
    """Measurements kept from earlier starts, by graph. A file that cannot be read counts as empty."""

    def __init__(self, folder: Path, fingerprint: str, *, exact: bool = False) -> None:
        """`exact`: whether pixels are made exactly; see `image.decode`."""
        self._way: Literal["quick", "exact"] = "exact" if exact else "quick"
        self._path = folder / f"{_slug(fingerprint)}.json"
        self._fingerprint = fingerprint
        self._content = self._read()

    def variant(self, graph_sha256: str) -> _Measured | None:
        """What is known of a graph."""
        return self._content.variants.get(graph_sha256)

    def cost(self, graph_sha256: str) -> VariantCost | None:
        """The same, as a latency model learns it."""
        known = self.variant(graph_sha256)
        if known is None:
            return None
        return VariantCost(known.base_s, known.alone_s, _worst_stop_s([known.stop_s]))

    def decode(self) -> dict[str, DecodeCost]:
        """What is known of decoding; empty when nothing is."""
        return {name: DecodeCost(**asdict(cost)) for name, cost in self._content.decode.get(self._way, {}).items()}

    def calibration(self, graphs: Mapping[str, str], lanes: int) -> Calibration | None:
        """What is known of all these graphs (variant → checksum) and of decoding; None where any of it is missing."""
        measured = {name: self.variant(sha256) for name, sha256 in graphs.items()}
        known = {name: one for name, one in measured.items() if one is not None}
        decode = self.decode()
        return _calibration(known, decode, lanes) if len(known) == len(measured) and decode else None

    def keep(self, variants: Mapping[str, _Measured], decode: Mapping[str, DecodeCost]) -> None:
        """Add measurements and write the file. Raises `OSError`."""
        self._content.variants.update(variants)
        self._content.decode[self._way] = {name: _Cost(**asdict(cost)) for name, cost in decode.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two servers may start at the same time.
        temporary = self._path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        temporary.write_text(json.dumps(asdict(self._content)))
        temporary.replace(self._path)

    def _read(self) -> _Content:
        empty = _Content(SCHEMA_VERSION, self._fingerprint)
        try:
            content = _CONTENT.validate_json(self._path.read_bytes())
        except (OSError, ValueError):
            # Another schema, or a hand edit: measuring again costs seconds, trusting it costs deadlines.
            return empty
        return content if content.fingerprint == self._fingerprint else empty


class Calibrator:
    """Measures what the file does not know yet."""

    def __init__(
        self,
        *,
        lanes: int,
        file: CalibrationFile | None,
        seconds_per_variant: float = 1.0,
        progress: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
        own_clock: Callable[[], float] | None = None,
    ) -> None:
        """`own_clock` stands still while its thread waits for a core; None where runs leave their thread."""
        self._lanes = lanes
        self._file = file
        self._seconds = seconds_per_variant
        self._progress = progress
        self._clock = clock
        self._own_clock = clock if own_clock is None else own_clock

    def calibrate(
        self,
        subjects: Sequence[Subject],
        samples: Sequence[DecodeSample],
        decode: Callable[[Source], object],
    ) -> Calibration:
        """Usual times per variant and per image format, and the window of ratios."""
        with ThreadPoolExecutor(self._lanes) as pool:
            decode_costs = self._decode_costs(samples, decode) if samples or self._file is None else self._file.decode()
            measured = self._known(subjects)
            measured |= self._measure([subject for subject in subjects if subject.name not in measured], pool)
        self._keep({s.graph_sha256: measured[s.name] for s in subjects}, decode_costs)
        return _calibration({subject.name: measured[subject.name] for subject in subjects}, decode_costs, self._lanes)

    def _keep(self, measured: dict[str, _Measured], decode: dict[str, DecodeCost]) -> None:
        if self._file is None:
            return
        try:
            self._file.keep(measured, decode)
        except OSError as error:
            # The next start measures again, which costs its seconds and nothing else.
            self._progress(f"measurements could not be kept: {error.strerror}")

    def _known(self, subjects: Sequence[Subject]) -> dict[str, _Measured]:
        if self._file is None:
            return {}
        found = {subject.name: self._file.variant(subject.graph_sha256) for subject in subjects}
        return {name: measured for name, measured in found.items() if measured is not None}

    def _measure(self, subjects: Sequence[Subject], pool: ThreadPoolExecutor) -> dict[str, _Measured]:
        busy: dict[str, list[_Run]] = {subject.name: [] for subject in subjects}
        alone: dict[str, list[_Run]] = {subject.name: [] for subject in subjects}
        for turn in range(PASSES):
            for subject in subjects:
                self._progress(f"measuring {subject.name}, turn {turn + 1} of {PASSES}")
                runs = self._turn(subject, pool)
                busy[subject.name] += runs
                alone[subject.name] += self._alone(subject, pool, runs=len(runs) // self._lanes)
        stops = {subject.name: self._stop(subject, _least_s(busy[subject.name]), pool) for subject in subjects}
        self._tell([run for runs in busy.values() for run in runs])
        return _settle(busy, alone, stops)

    def _tell(self, runs: Sequence[_Run]) -> None:
        waited = 1 - sum(run.own_s for run in runs) / sum(run.seconds for run in runs) if runs else 0.0
        if waited > DISTURBED_SHARE:
            self._progress(f"runs waited {waited:.0%} of their time for a core that other work had")

    def _stop(self, subject: Subject, usual_s: float, pool: ThreadPoolExecutor) -> float | None:
        pixels = _pixels(subject)
        return termination.measure(subject.session, pixels, usual_s=usual_s, pool=pool, clock=self._clock)

    def _turn(self, subject: Subject, pool: ThreadPoolExecutor) -> list[_Run]:
        """One pass of one variant. Its first run pays for caches that the variant before has filled."""
        first = self._round(subject, pool, lanes=self._lanes, runs=1)
        first_s = median(run.seconds for run in first)
        runs = min(max(math.ceil(self._seconds / PASSES / first_s), MIN_RUNS), MAX_RUNS)
        return self._round(subject, pool, lanes=self._lanes, runs=runs)

    def _alone(self, subject: Subject, pool: ThreadPoolExecutor, *, runs: int) -> list[_Run]:
        """Half as many runs on one lane, after `runs` on all; none where there is but one."""
        return self._round(subject, pool, lanes=1, runs=math.ceil(runs / 2)) if self._lanes > 1 else []

    def _round(self, subject: Subject, pool: ThreadPoolExecutor, *, lanes: int, runs: int) -> list[_Run]:
        """Run on some lanes at once; the single times of all of them."""
        pixels = _pixels(subject)
        working = [pool.submit(self._runs, lambda: subject.session.run(pixels), runs) for _ in range(lanes)]
        return [one for lane in working for one in lane.result()]

    def _runs(self, work: Callable[[], object], count: int) -> list[_Run]:
        runs = []
        for _ in range(count):
            started_s, own_s = self._clock(), self._own_clock()
            work()
            runs.append(_Run(self._clock() - started_s, self._own_clock() - own_s))
        return runs

    def _decode_costs(
        self, samples: Sequence[DecodeSample], decode: Callable[[Source], object]
    ) -> dict[str, DecodeCost]:
        """Through the sample sizes of each format. Decoding is short, so one thread measures it."""
        self._progress("measuring decode")
        times: dict[str, list[tuple[float, float]]] = {}
        for sample in samples:
            runs = self._runs(lambda body=sample.body: decode(body), 5)  # type: ignore[misc]
            seconds = median(run.own_s for run in runs)
            times.setdefault(sample.header.format, []).append((sample.header.megapixels, seconds))
        return {name: _line(sorted(points)) for name, points in times.items()}


def _pixels(subject: Subject) -> npt.NDArray[np.uint8]:
    size = subject.input_size_px
    return np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)


def _calibration(measured: Mapping[str, _Measured], decode: Mapping[str, DecodeCost], lanes: int) -> Calibration:
    return Calibration(
        inference_s={name: one.base_s for name, one in measured.items()},
        decode=decode,
        ratios=tuple(ratio for one in measured.values() for ratio in one.ratios),
        terminate_s=_worst_stop_s([one.stop_s for one in measured.values()]),
        alone_s={name: one.alone_s for name, one in measured.items() if one.alone_s is not None},
        lanes=lanes,
    )


def _worst_stop_s(stops: Sequence[float | None]) -> float | None:
    """None as soon as one variant cannot be terminated: the rule counts on all of them."""
    known = [stop_s for stop_s in stops if stop_s is not None]
    return max(known) * STOP_MARGIN if known and len(known) == len(stops) else None


def _least_s(runs: Sequence[_Run]) -> float:
    return min(run.own_s for run in runs)


def _settle(
    busy: Mapping[str, Sequence[_Run]], alone: Mapping[str, Sequence[_Run]], stops: Mapping[str, float | None]
) -> dict[str, _Measured]:
    """Bases and ratios; see the module's last paragraph."""
    if not busy:
        return {}
    usual = median(run.own_s / _least_s(runs) for runs in busy.values() for run in runs)
    bases_s = {name: _least_s(runs) * usual for name, runs in busy.items()}
    return {
        name: _Measured(
            base_s=bases_s[name],
            ratios=tuple(min(run.seconds / bases_s[name], MOST_RATIO) for run in runs),
            stop_s=stops[name],
            alone_s=_least_s(alone[name]) * usual if alone[name] else None,
        )
        for name, runs in busy.items()
    }


def _line(points: Sequence[tuple[float, float]]) -> DecodeCost:
    """The line through the first two samples, and on to the last where there is a third; no part is negative."""
    (small_mp, small_s), (knee_mp, knee_s) = points[0], points[1]
    slope = max((knee_s - small_s) / (knee_mp - small_mp), 0.0)
    fixed_s = max(small_s - slope * small_mp, 1e-5)
    if len(points) == 2:
        return DecodeCost(fixed_s, slope)
    large_mp, large_s = points[-1]
    beyond = max((large_s - knee_s) / (large_mp - knee_mp), 0.0)
    return DecodeCost(fixed_s, slope, knee_mp, beyond)


def _slug(fingerprint: str) -> str:
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
