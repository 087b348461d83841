"""PromQL over the tables: selectors, rates, quantiles and means of metrics of ours, and recorded series by name."""

import functools
from enum import StrEnum
from pathlib import Path

import yaml

from service.telemetry.table import Spec

RULES = Path(__file__).resolve().parents[1] / "prometheus" / "recording.yml"
JOB = 'job="$job"'
SELECTED = f'{JOB}, instance=~"$instance"'
"""What the variables at the top of a dashboard choose. Recorded series are sums over a job's instances."""
WINDOW = "$__rate_interval"
"""Grafana's: at least four scrapes, and as long as a step of the plot."""


class Process(StrEnum):
    """What prometheus-client tells of the process."""

    MEMORY = "process_resident_memory_bytes"
    CPU = "process_cpu_seconds_total"
    FILES = "process_open_fds"
    FILES_LIMIT = "process_max_fds"


def series(spec: Spec, *matchers: str, part: str = "") -> str:
    """The selected instances' series of a metric; `part` is `_bucket`, `_sum` or `_count` of a histogram."""
    return _select(f"{spec.exposed_name}{part}", matchers)


def process(metric: Process) -> str:
    """Likewise, of the process."""
    return _select(metric, ())


def _select(name: str, matchers: tuple[str, ...]) -> str:
    return f"{name}{{{', '.join((SELECTED, *matchers))}}}"


def rate(spec: Spec, *matchers: str, by: str = "", part: str = "") -> str:
    """By how much a counter grows a second, summed by labels."""
    return f"sum{_by(by)} (rate({series(spec, *matchers, part=part)}[{WINDOW}]))"


def buckets(spec: Spec) -> str:
    """What falls into each bucket of a histogram, a second: a heat map."""
    return rate(spec, by="le", part="_bucket")


def quantile(share: float, spec: Spec, by: str = "") -> str:
    """A histogram's quantile by labels."""
    return f"histogram_quantile({share:g}, {rate(spec, by=f'{by}, le' if by else 'le', part='_bucket')})"


def total(spec: Spec, *matchers: str, by: str = "") -> str:
    """Sum of a gauge over instances."""
    return f"sum{_by(by)} ({series(spec, *matchers)})"


def worst(spec: Spec, *matchers: str, by: str = "") -> str:
    """The highest of a gauge over instances."""
    return f"max{_by(by)} ({series(spec, *matchers)})"


def recorded(name: str) -> str:
    """A recorded series of the job. Raises `KeyError` when no rule records it."""
    if name not in recorded_names():
        raise KeyError(f"{name} is not recorded by {RULES.name}")
    return f"{name}{{{JOB}}}"


@functools.cache
def recorded_names() -> frozenset[str]:
    """What the rules record."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return frozenset(rule["record"] for group in groups for rule in group["rules"])


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
