"""Metrics of several workers as those of one service: counts add up, gauges by what the table says of each.

Counts of a worker that has ended are kept, as it last told them. Otherwise the sums would fall, which to Prometheus is
a service that began anew, and everything that the others had ever counted would look like the work of one moment.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from service.telemetry import table
from service.telemetry.table import Over

Families = Sequence[Metric]
"""Of one worker."""
_ADD: dict[Over, Callable[[list[float]], float]] = {
    Over.SUM: sum,
    Over.MEAN: fmean,
    Over.LARGEST: max,
    Over.SMALLEST: min,
}
_OVER = table.FOREIGN | {spec.name: spec.workers for spec in table.TABLE}
_COUNTS = ("counter", "histogram")


class Merged:
    """The metrics of all workers, living and gone, and of the process that watches them."""

    def __init__(self) -> None:
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)
        self._gone: Families = ()
        self._living: dict[int, Families] = {}
        self.restarts = 0
        """Workers that were started again."""

    def told(self, worker: int, families: Families) -> None:
        """A worker has told of itself."""
        self._living[worker] = families

    def ended(self, worker: int) -> None:
        """What it counted remains."""
        counts = [family for family in self._living.pop(worker, ()) if family.type in _COUNTS]
        self._gone = merged([self._gone, counts])

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All of them and their content type, in the format the `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(_Told(merged([*self._living.values(), self._gone, self._watching()])))
        return encode(registry), content_type

    def _watching(self) -> Families:
        spec = table.RESTARTS
        return [*self._own.collect(), CounterMetricFamily(spec.name, spec.meaning, value=self.restarts)]


class _Told(Collector):
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def merged(members: Iterable[Families]) -> list[Metric]:
    """One family of each name, in the order in which they first come."""
    by_name: dict[str, list[Metric]] = {}
    for families in members:
        for family in families:
            by_name.setdefault(family.name, []).append(family)
    return [_one(families) for families in by_name.values()]


def _one(families: Sequence[Metric]) -> Metric:
    first = families[0]
    add = _ADD[Over.SUM if first.type in _COUNTS else _OVER.get(first.name, Over.SUM)]
    samples: dict[tuple[str, frozenset[tuple[str, str]]], list[Sample]] = {}
    for family in families:
        for sample in family.samples:
            samples.setdefault((sample.name, frozenset(sample.labels.items())), []).append(sample)
    one = Metric(first.name, first.documentation, first.type, first.unit)
    for same in samples.values():
        value = add([sample.value for sample in same])
        one.add_sample(same[0].name, same[0].labels, value, exemplar=_latest(same))
    return one


def _latest(samples: Iterable[Sample]) -> Exemplar | None:
    exemplars = [sample.exemplar for sample in samples if sample.exemplar is not None]
    return max(exemplars, key=lambda exemplar: exemplar.timestamp or 0.0, default=None)
