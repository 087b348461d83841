"""Samples → the figures that are shown. Medians and percentiles: means of latencies say little."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PERCENTILES = (0, 5, 50, 95, 99)


@dataclass(frozen=True, slots=True)
class Spread:
    """How samples lie, in their own unit. Percentiles are interpolated linearly."""

    runs: int
    least: float
    p5: float
    median: float
    p95: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Raises `ValueError` when there are none."""
        if not samples:
            raise ValueError("no samples, no figures")
        return cls(len(samples), *(round(float(value), 4) for value in np.percentile(samples, PERCENTILES)))
