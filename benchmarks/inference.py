"""Figure 2: inference as served against ONNX Runtime alone, for each of B0–B7, on one lane with one thread.

A round measures both sides of one variant one after the other, and who goes first alternates: on a noisy machine both
then see the same noise. The ratio is taken round by round. The runtime alone runs back to back with warm caches; the
service decodes an image and talks to a client in between, as it must.
"""

import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.clients import HttpClient
from benchmarks.raw import Raw, running
from benchmarks.report import Table, ms
from benchmarks.server import serving, variants
from benchmarks.stats import Spread

LEAST_RUNS, MOST_RUNS = 2, 25
"""Runs of one side in a round: as many as fit the round's time, within these."""


@dataclass(frozen=True, slots=True)
class Inference:
    """Of one variant, in milliseconds."""

    variant: str
    input_size_px: int
    gmacs: float
    raw: Spread
    served: Spread
    ratio: Spread
    """Served ÷ raw, of the medians of each round."""


def measure(store: Path, photo: bytes, *, rounds: int, seconds_per_round: float, calibrate_s: float) -> list[Inference]:
    """`seconds_per_round` is for one side of one variant."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(photo)
        file.flush()
        with (
            serving(store, calibrate_s=calibrate_s, lanes=1) as server,
            running(store, Path(file.name)) as raw,
            closing(HttpClient(server)) as client,
        ):
            return _Comparison(raw, client, photo).of(store, rounds, seconds_per_round)


class _Comparison:
    def __init__(self, raw: Raw, client: HttpClient, photo: bytes) -> None:
        self._raw = raw
        self._client = client
        self._photo = photo

    def of(self, store: Path, rounds: int, seconds_per_round: float) -> list[Inference]:
        entries = variants(store)
        names = [entry.manifest.name for entry in entries]
        runs = {name: self._runs(name, seconds_per_round) for name in names}
        pairs: dict[str, list[tuple[list[float], list[float]]]] = {name: [] for name in names}
        for number in range(rounds):
            for name in names:
                pairs[name].append(self._round(name, runs[name], raw_first=number % 2 == 0))
        return [
            _figures(e.manifest.name, e.manifest.preprocessing.input_size_px, e.manifest.macs, pairs[e.manifest.name])
            for e in entries
        ]

    def _runs(self, name: str, seconds: float) -> int:
        first_ms = median(self._raw.times_ms(name, 3))
        self._served(name, 1)
        return min(max(round(seconds * 1e3 / first_ms), LEAST_RUNS), MOST_RUNS)

    def _round(self, name: str, runs: int, *, raw_first: bool) -> tuple[list[float], list[float]]:
        if raw_first:
            raw = self._raw.times_ms(name, runs)
            return raw, self._served(name, runs)
        served = self._served(name, runs)
        return self._raw.times_ms(name, runs), served

    def _served(self, name: str, runs: int) -> list[float]:
        return [self._client.classify(self._photo, {"variant": name}).inference_ms for _ in range(runs)]


def _figures(name: str, size_px: int, macs: int, rounds: list[tuple[list[float], list[float]]]) -> Inference:
    return Inference(
        variant=name,
        input_size_px=size_px,
        gmacs=round(macs / 1e9, 3),
        raw=Spread.of([one for raw, _ in rounds for one in raw]),
        served=Spread.of([one for _, served in rounds for one in served]),
        ratio=Spread.of([median(served) / median(raw) for raw, served in rounds]),
    )


def table(figures: list[Inference]) -> Table:
    """One row for each variant."""
    headings = (
        "", "px", "GMACs", "runs", "raw p50", "min", "p5–p95", "served p50", "min", "p5–p95", "served ÷ raw", "p5–p95",
    )  # fmt: skip
    note = "raw: onnxruntime.InferenceSession.run alone, back to back; served: the server's inference time. One thread."
    return Table("Inference as served and by ONNX Runtime alone (ms)", headings, [_row(one) for one in figures], note)


def _row(one: Inference) -> list[str]:
    return [
        one.variant, str(one.input_size_px), f"{one.gmacs:.2f}", str(one.raw.runs), *_side(one.raw), *_side(one.served),
        f"{one.ratio.median:.3f}", f"{one.ratio.p5:.2f}–{one.ratio.p95:.2f}",
    ]  # fmt: skip


def _side(times: Spread) -> tuple[str, str, str]:
    return ms(times.median), ms(times.least), f"{times.p5:.1f}–{times.p95:.1f}"
