"""Reading what `metrics` writes: one scrape as numbers, and what two of them tell of the time in between.

The arithmetic is Prometheus': counters that have fallen began anew, quantiles are interpolated within their bucket.
https://prometheus.io/docs/prometheus/latest/querying/functions/
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Samples = Mapping[Labels, float]
"""Of one name, by their labels."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples of one moment."""

    at_s: float
    """On the reader's clock."""
    samples: Mapping[str, Samples]

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples that have these labels; 0 when there is none."""
        return sum(value for _, value in _having(self.samples, name, labels))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The same for each value of another label."""
        return _grouped(_having(self.samples, name, labels), label)

    def labelled(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Each sample with its labels."""
        return [(dict(labels), value) for labels, value in self.samples.get(name, {}).items()]


def read(text: str, at_s: float) -> Scrape:
    """A scrape in Prometheus' text format. Raises `ValueError` when it is none."""
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Scrape(at_s, samples)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened from one scrape to another."""

    before: Scrape | None
    """None: since the start of the process."""
    now: Scrape
    seconds: float
    """The time in between; more than 0."""

    def increase(self, name: str, **labels: str) -> float:
        """By how much the counters with these labels rose."""
        return sum(value for _, value in self._risen(name, labels))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The same for each value of another label."""
        return _grouped(self._risen(name, labels), label)

    def rate(self, name: str, **labels: str) -> float:
        """By how much in a second."""
        return self.increase(name, **labels) / self.seconds

    def quantile(self, share: float, histogram: str, **labels: str) -> float | None:
        """Which value that share of the observations did not exceed; None when there were none."""
        buckets = self.by("le", f"{histogram}_bucket", **labels)
        return quantile(share, {float(limit): count for limit, count in buckets.items()})

    def _risen(self, name: str, wanted: Mapping[str, str]) -> Iterator[tuple[Labels, float]]:
        earlier = {} if self.before is None else self.before.samples.get(name, {})
        for labels, value in _having(self.now.samples, name, wanted):
            yield labels, risen(earlier.get(labels, 0.0), value)


def risen(before: float, now: float) -> float:
    """By how much a counter rose. One that is lower than before began anew, and rose from 0."""
    return now - before if now >= before else now


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """From the cumulative counts of a histogram by upper limit, as if observations lay evenly within their bucket.

    Beyond the last finite limit nothing is known but that. None when the histogram is empty.
    """
    limits = sorted(buckets)
    if not limits or buckets[limits[-1]] <= 0:
        return None
    rank = share * buckets[limits[-1]]
    below, lower = 0.0, 0.0
    for limit in limits:
        if buckets[limit] >= rank and buckets[limit] > below:
            return lower if math.isinf(limit) else lower + (limit - lower) * (rank - below) / (buckets[limit] - below)
        below, lower = buckets[limit], limit
    return lower


def _having(samples: Mapping[str, Samples], name: str, wanted: Mapping[str, str]) -> Iterator[tuple[Labels, float]]:
    pairs = wanted.items()
    return ((labels, value) for labels, value in samples.get(name, {}).items() if labels.issuperset(pairs))


def _grouped(samples: Iterator[tuple[Labels, float]], label: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for labels, value in samples:
        key = dict(labels).get(label, "")
        sums[key] = sums.get(key, 0.0) + value
    return sums
