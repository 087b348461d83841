"""What the networks cost to serve: graphs of the store's builder in ONNX Runtime, one image, one thread, in turns.

Seeded weights, because time does not depend on them. At the study's size with its classes, and at the level's own size
with ImageNet's.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.g16.study import Latency
from benchmarks.stats import Spread
from model_store.builder import build
from model_store.builder.count import Counts
from model_store.builder.spec import Spec
from model_store.builder.weights import untrained
from service.pipeline.session import Session, SessionOptions

OWN_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is timed."""

    rounds: int
    runs: int
    """Of each graph in a round."""


class _Graph:
    """One network at one size, ready to run."""

    def __init__(self, spec: Spec, size_px: int, classes: int, folder: Path) -> None:
        self.spec, self.size_px, self.classes = spec, size_px, classes
        state = untrained(build.state_shapes(spec, classes), 0).tensors
        path = folder / f"{spec.name}-{size_px}.onnx"
        build.save(build.build_graph(spec, state, classes=classes, size=size_px), path)
        self.counts: Counts = build.counts(spec, classes, size_px)
        self._session = Session(path, input_size_px=size_px, classes=classes, options=SessionOptions(threads=1))
        self._session.warm_up()
        self._image = np.random.default_rng(0).integers(0, 256, (1, size_px, size_px, 3), np.uint8)

    def times_ms(self, runs: int) -> list[float]:
        """Of so many runs, one after the other."""
        return [self._time_ms() for _ in range(runs)]

    def _time_ms(self) -> float:
        started_s = time.perf_counter()
        self._session.run(self._image)
        return (time.perf_counter() - started_s) * 1e3


def measure(specs: Sequence[Spec], size_px: int, classes: int, effort: Effort) -> tuple[Latency, ...]:
    """Every network at both sizes. Every second round goes backwards."""
    own = [(spec, spec.resolution, OWN_CLASSES) for spec in specs if spec.resolution != size_px]
    with tempfile.TemporaryDirectory() as folder:
        graphs = [_Graph(*one, Path(folder)) for one in [(spec, size_px, classes) for spec in specs] + own]
        rounds: list[list[list[float]]] = [[] for _ in graphs]
        for number in range(effort.rounds):
            for at in range(len(graphs)) if number % 2 == 0 else reversed(range(len(graphs))):
                rounds[at].append(graphs[at].times_ms(effort.runs))
    first: dict[int, list[list[float]]] = {}
    for graph, taken in zip(graphs, rounds, strict=True):
        first.setdefault(graph.size_px, taken)
    return tuple(_latency(graph, taken, first[graph.size_px]) for graph, taken in zip(graphs, rounds, strict=True))


def _latency(graph: _Graph, rounds: Sequence[list[float]], first: Sequence[list[float]]) -> Latency:
    return Latency(
        network=graph.spec.name,
        size_px=graph.size_px,
        classes=graph.classes,
        params=graph.counts.params,
        gmacs=round(graph.counts.macs / 1e9, 4),
        latency_ms=Spread.of([one for taken in rounds for one in taken]),
        ratio=Spread.of([median(ours) / median(theirs) for ours, theirs in zip(rounds, first, strict=True)]),
    )
