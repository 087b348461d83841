"""How long will this image take on that variant? A pooled-ratio conformal window.

The model keeps a base time per variant (from calibration) and per image format, one global slow-down factor, and
one window of ratios actual ÷ predicted pooled over *all* variants. The upper quantile of that window, times the
base, bounds the next run with the wanted coverage: split conformal prediction. Pooling is the point. A rarely
chosen B7 profits from a thousand runs of B0, and when a neighbour takes half the machine, nine runs of anything
tell it about all variants. The slow-down idea is ALERT's (Wan et al., USENIX ATC 2020), with a median in place of
the Kalman filter; the order statistic is split conformal's (Vovk; Gibbs & Candès, arXiv 2106.00170).

Left out here: coverage feedback (ACI) and separate bases for a busy machine.
"""

import bisect
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from service.core.values import ImageHeader

WINDOW = 600
"""Ratios kept: enough for a stable 99 % quantile, few enough to forget in seconds under load."""
SLOWDOWN_WINDOW = 9
"""Runs whose median is the slow-down: reacts within five runs, ignores four outliers."""
UNKNOWN_TAIL_FACTOR = 1.5
"""Applied to the largest ratio seen while there are too few for the wanted quantile."""
ENOUGH = 120
"""Ratios below which none of calibration's is given up: a 99 % bound needs 99."""
RATIO_CLIP = (0.01, 5.0)
"""A suspended machine or a coarse clock is no news about the next run: single ratios are cut to this range."""
DECODE_TRUST = 3.0
"""A run whose decoding took more than this many times what was expected, or less than its inverse, tells about its
image and not about the machine: it leaves the window alone."""
MOST_RESPOND_S = 0.02
"""A stall of the event loop is no habit: longer responses count as this long."""
BASE_STEP = 1.01
"""A base follows its median by 1 % a run, and never leaves half to double of what calibration found."""
BASE_CLIP = (0.5, 2.0)
RESPOND_WINDOW = 200
RESPOND_PRIOR_S = 0.0005
"""Assumed time from lane to response before the first one was measured."""


@dataclass(frozen=True, slots=True)
class DecodeCost:
    """Expected time to decode and resize one image of a format: a fixed part and one that grows with the source.

    Beyond the knee the growth is another: large JPEGs are decoded at a reduced scale.
    """

    fixed_s: float
    per_megapixel_s: float
    knee_megapixels: float = 1e9
    per_megapixel_beyond_s: float = 0.0

    def expected_s(self, megapixels: float) -> float:
        """Seconds for a source of `megapixels` million pixels."""
        before, beyond = min(megapixels, self.knee_megapixels), max(megapixels - self.knee_megapixels, 0.0)
        return self.fixed_s + self.per_megapixel_s * before + self.per_megapixel_beyond_s * beyond


@dataclass(frozen=True, slots=True)
class Observation:
    """What one run on a lane took, beside what had been expected of it."""

    variant: str
    image_format: str
    expected_decode_s: float
    decode_s: float
    inference_s: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What start-up measured: the state a latency model begins with."""

    inference_s: Mapping[str, float]
    """Median seconds per variant, all lanes busy."""
    decode: Mapping[str, DecodeCost]
    """Per image format."""
    ratios: tuple[float, ...] = ()
    """Single runs divided by their variant's median; they fill the window."""
    terminate_s: float | None = None
    """Time within which a terminated run stops, at worst; None where runs cannot be terminated."""


class SlidingQuantile:
    """The last `size` samples with their order statistics and mean. O(log n) search, O(n) move, n ≤ 600."""

    def __init__(self, size: int, samples: Iterable[float] = ()) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._size = size
        for sample in samples:
            self.add(sample)

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, sample: float) -> None:
        """Take in one sample and forget the oldest beyond `size`."""
        self._recent.append(sample)
        bisect.insort(self._sorted, sample)
        if len(self._recent) > self._size:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Forget one sample. Raises `IndexError` when empty."""
        self._sorted.pop(bisect.bisect_left(self._sorted, self._recent.popleft()))

    def mean(self) -> float:
        """Arithmetic mean. Raises `ZeroDivisionError` when empty."""
        return math.fsum(self._sorted) / len(self._sorted)

    def upper(self, miss_rate: float) -> float | None:
        """The conformal bound: order statistic ⌈(n+1)(1−miss_rate)⌉; None while n is too small for it to exist."""
        rank = math.ceil((len(self._sorted) + 1) * (1 - miss_rate))
        return self._sorted[rank - 1] if rank <= len(self._sorted) else None

    def largest(self, default: float) -> float:
        """The largest sample, or `default` when there is none."""
        return self._sorted[-1] if self._sorted else default


class LatencyModel:
    """Predicts decode + inference time per variant and image; learns from each run.

    `miss_rate` is the share of runs allowed above `tail_s` (0.01: the tail is a p99). All times are in seconds.
    """

    def __init__(self, calibration: Calibration, *, miss_rate: float = 0.01, window: int = WINDOW) -> None:
        self._calibration = calibration
        self._miss_rate = miss_rate
        self._window = window
        self.forget()

    def __repr__(self) -> str:
        return f"<LatencyModel slowdown={self.slowdown:.3f} tail={self._tail:.3f} runs={len(self._ratios)}>"

    def forget(self) -> None:
        """Back to what calibration found. Called when what is known is old and would refuse a request."""
        self._inference = dict(self._calibration.inference_s)
        self._decode_factor = dict.fromkeys(self._calibration.decode, 1.0)
        self._ratios = SlidingQuantile(self._window, map(_clipped, self._calibration.ratios))
        self._calibrated_left = len(self._ratios)
        self._slowdowns: deque[float] = deque(maxlen=SLOWDOWN_WINDOW)
        self._responds = SlidingQuantile(RESPOND_WINDOW)
        self._respond = RESPOND_PRIOR_S
        self._refresh()

    @property
    def slowdown(self) -> float:
        """How much slower the machine runs now than at calibration, over all variants."""
        return self._slowdown

    def expected_decode_s(self, header: ImageHeader) -> float:
        """Expected decode + resize time of an image, from its header alone. Raises `KeyError` for unknown formats."""
        return (
            self._calibration.decode[header.format].expected_s(header.megapixels) * self._decode_factor[header.format]
        )

    def expected_s(self, variant: str, decode_s: float) -> float:
        """Mean service time of `variant` on an image that takes `decode_s` to decode."""
        return self._base(variant, decode_s) * self._mean

    def tail_s(self, variant: str, decode_s: float) -> float:
        """The time within which all but `miss_rate` of such runs finish."""
        return self._base(variant, decode_s) * self._tail

    def respond_s(self) -> float:
        """Upper quantile of the time from lane to response: kept in reserve from each budget."""
        return self._respond

    def terminate_s(self) -> float | None:
        """Time within which a terminated run stops; None where runs cannot be terminated."""
        return self._calibration.terminate_s

    def observe(self, run: Observation) -> None:
        """Learn from one run."""
        # The slow-down follows inference alone: how long an image decodes depends on the image, too.
        slower = _clipped(run.inference_s / self._inference[run.variant])
        decoding = run.decode_s / max(run.expected_decode_s * slower, 1e-9)
        if run.expected_decode_s == 0 or 1 / DECODE_TRUST <= decoding <= DECODE_TRUST:
            expected_s = (self._inference[run.variant] + run.expected_decode_s) * self._slowdown
            self._take_in(_clipped((run.decode_s + run.inference_s) / expected_s))
        self._slowdowns.append(slower)
        self._track_bases(run)
        self._refresh()

    def observe_respond(self, respond_s: float) -> None:
        """Learn from the way from a lane to the response of one request."""
        self._responds.add(min(respond_s, MOST_RESPOND_S))
        upper = self._responds.upper(self._miss_rate)
        self._respond = self._responds.largest(RESPOND_PRIOR_S) if upper is None else upper

    def _take_in(self, ratio: float) -> None:
        """A live run displaces one of calibration, as long as enough are left for the quantile."""
        self._ratios.add(ratio)
        if self._calibrated_left and len(self._ratios) > ENOUGH:
            self._ratios.drop_oldest()
            self._calibrated_left -= 1

    def _base(self, variant: str, decode_s: float) -> float:
        return (self._inference[variant] + decode_s) * self._slowdown

    def _track_bases(self, run: Observation) -> None:
        known = self._calibration.inference_s[run.variant]
        moved = _step(self._inference[run.variant], towards=run.inference_s / self._slowdown)
        self._inference[run.variant] = min(max(moved, known * BASE_CLIP[0]), known * BASE_CLIP[1])
        if run.expected_decode_s > 0:
            factor = _step(self._decode_factor[run.image_format], towards=self._decode_share(run))
            self._decode_factor[run.image_format] = min(max(factor, BASE_CLIP[0]), BASE_CLIP[1])

    def _decode_share(self, run: Observation) -> float:
        factor = self._decode_factor[run.image_format]
        return factor * run.decode_s / max(run.expected_decode_s * self._slowdown, 1e-9)

    def _refresh(self) -> None:
        self._slowdown = median(self._slowdowns) if len(self._slowdowns) == SLOWDOWN_WINDOW else 1.0
        self._mean = self._ratios.mean() if len(self._ratios) else 1.0
        upper = self._ratios.upper(self._miss_rate)
        self._tail = self._ratios.largest(1.0) * UNKNOWN_TAIL_FACTOR if upper is None else upper


def _clipped(ratio: float) -> float:
    return min(max(ratio, RATIO_CLIP[0]), RATIO_CLIP[1])


def _step(value: float, *, towards: float) -> float:
    """One step of a multiplicative median tracker (a 1 % move, whatever the distance, so outliers cannot pull)."""
    return value * BASE_STEP if towards > value else value / BASE_STEP
