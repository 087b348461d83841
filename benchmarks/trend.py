"""Whether something grows: a robust slope of a series, with an interval, and a rule that judges it.

What is in hand comes and goes; what leaks stays, and raises the least there is. So the series is cut into a dozen
parts, long enough for each to hold a whole round of what is done, and the slope is that of the least value in each. It
is the median of the slopes between all pairs of these (Theil 1950), its interval Sen's (1968) by the normal
approximation of Kendall's statistic: a few parts without a quiet moment do not move it. Peaks, which are coincidences,
are compared by what all but a twentieth of the values stay below.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

Z95 = 1.96
PARTS = 12
PEAK = 0.95
GROWTH, LARGER = 0.01, 0.05
"""A series is flat that grows by less than this share while it is looked at, or whose slope may be none; and whose
peak in the second half is at most so much, or one, above that in the first."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Of one series."""

    typical: float
    """Its median."""
    per_hour: float
    low: float
    high: float
    """The slope and its interval (95 %), in the unit of the series for an hour."""
    growth: float
    """By that slope, over the time that was looked at: a share of what is typical."""
    peaks: tuple[float, float]
    """Of the first half, and of the second: 95 % of the values are no larger."""
    flat: bool


def trend(times_s: Sequence[float], values: Sequence[float]) -> Trend:
    """Of values at these times, of which there have to be two."""
    points = _parts(times_s, values)
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(points)
        for later in points[number + 1 :]
    )
    slope, (low, high) = median(slopes), _interval(slopes, len(points))
    typical, span_s = median(values), times_s[-1] - times_s[0]
    growth = slope * span_s / typical if typical else 0.0
    middle_s = times_s[0] + span_s / 2
    first, second = (
        _peak([value for at_s, value in zip(times_s, values, strict=True) if (at_s < middle_s) is early])
        for early in (True, False)
    )
    flat = (growth < GROWTH or low <= 0) and second <= max(first * (1 + LARGER), first + 1)
    return Trend(typical, slope * 3600, low * 3600, high * 3600, growth, (first, second), flat)


def _parts(times_s: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    size = max(len(values) // PARTS, 1)
    starts = range(0, len(values), size)
    return [(median(times_s[n : n + size]), min(values[n : n + size])) for n in starts]


def _peak(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(PEAK * len(values)) - 1]


def _interval(slopes: Sequence[float], points: int) -> tuple[float, float]:
    """Of sorted slopes between so many points."""
    reach = Z95 * math.sqrt(points * (points - 1) * (2 * points + 5) / 18)
    low, high = (len(slopes) - reach) / 2, (len(slopes) + reach) / 2
    return slopes[max(math.floor(low), 0)], slopes[min(math.ceil(high), len(slopes) - 1)]
