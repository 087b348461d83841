"""What each model has done since the start, as the protocol's extension `statistics` counts it. Told by events.

Each image counts as one request and one execution: the images of a batch run one by one. Requests of all protocols
count, those that named a variant for it alone, others also for the routed model.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from service.core.events import Event, RequestAnswered, RequestFailed, VariantLoaded
from service.core.values import Reason, Timing
from service.edges.oip.models import ROUTED, Model


@dataclass(slots=True)
class _Duration:
    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += max(round(seconds * 1e9), 0)

    def document(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
"""As the protocol has them; there is no cache."""
COMPUTE = ("compute_input", "compute_infer", "compute_output")


@dataclass(slots=True)
class _Counts:
    stages: dict[str, _Duration] = field(default_factory=lambda: {stage: _Duration() for stage in STAGES})
    last_ms: int = 0

    def answered(self, timing: Timing, at_s: float) -> None:
        self.stages["success"].add(timing.total_s)
        self.stages["queue"].add(timing.queue_s)
        self.stages["compute_input"].add(timing.decode_s)
        self.stages["compute_infer"].add(timing.inference_s)
        self.stages["compute_output"].add(timing.respond_s)
        self.last_ms = round(at_s * 1e3)


class Statistics:
    """Counts by model. An `Observer`."""

    def __init__(self, variants: Iterable[str], wall_clock: Callable[[], float] = time.time) -> None:
        self._variants = {name: _Counts() for name in variants}
        self._routed = _Counts()
        self._wall_clock = wall_clock

    def observe(self, event: Event) -> None:
        """See `Observer.observe`."""
        match event:
            case RequestAnswered():
                decision, timing, now_s = event.answer.decision, event.answer.timing, self._wall_clock()
                self._variants[decision.variant.name].answered(timing, now_s)
                if decision.reason is not Reason.NAMED_BY_REQUEST:
                    self._routed.answered(timing, now_s)
            case VariantLoaded():
                self._variants.setdefault(event.name, _Counts())
            case RequestFailed():
                # Without a budget nobody knows yet what was asked; and a name that is not served has no figures.
                counts = self._routed if event.variant is None else self._variants.get(event.variant)
                if event.budget_s is not None and counts is not None:
                    counts.stages["fail"].add(event.total_s)

    def document(self, models: Iterable[Model]) -> dict[str, Any]:
        """The figures of these models."""
        return {"model_stats": [self._of(model) for model in models]}

    def _of(self, model: Model) -> dict[str, Any]:
        counts = self._routed if model.name == ROUTED else self._variants[model.name]
        stages = {name: duration.document() for name, duration in counts.stages.items()}
        done = counts.stages["success"].count
        return {
            "name": model.name,
            "version": model.version,
            "last_inference": counts.last_ms,
            "inference_count": done,
            "execution_count": done,
            "inference_stats": stages,
            "batch_stats": [{"batch_size": 1, **{stage: stages[stage] for stage in COMPUTE}}] if done else [],
        }
