"""Structured logs: one line for each request and for each change of the service, as JSON or for a terminal.

A request's line carries what its answer told the client (variant, why, stages, budget met), so that a question about
one answer is settled by its request id alone; where requests are traced, its trace is named, too. Writing a line costs
about 40 µs (`python -m benchmarks.micro`), which is why there is only one.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from service.core.errors import ErrorKind
from service.core.events import (
    Event,
    LifecycleChanged,
    RequestAnswered,
    RequestFailed,
    StoreUnread,
    VariantChanged,
    VariantLoaded,
    VariantRefused,
    WorkerChanged,
)
from service.core.messages import ChangeKind
from service.core.trace import Journey

_FRAMES = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Tracebacks without local variables: those hold the client's image."""


def configure(*, level: str, json: bool | None, stream: TextIO | None = None, worker: int | None = None) -> None:
    """Set up structlog for the process. `level` is a name such as `info`; lines go to standard output.

    `json` None: JSON unless standard output is a terminal. `worker` is in each line, where there are several.
    """
    terminal = sys.stdout.isatty()
    json = not terminal if json is None else json
    named: list[Processor] = [] if worker is None else [_of_worker(worker)]
    shared: list[Processor] = [
        *named,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[Processor] = (
        [structlog.processors.ExceptionRenderer(_FRAMES), structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=_from_level(level),
        # One write for each line; printing makes two.
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stdout),
        cache_logger_on_first_use=False,
    )


def _of_worker(number: int) -> Processor:
    def add(_logger: object, _method: str, line: EventDict) -> EventDict:
        return {"worker": number, **line}

    return add


def _from_level(level: str) -> type[FilteringBoundLogger]:
    """A logger that writes lines of this level and above."""
    return structlog.make_filtering_bound_logger(_severity(level))


def _severity(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


class Logs:
    """Writes events down. An `Observer`."""

    def __init__(self, *, requests: bool = True) -> None:
        self._log = structlog.get_logger().bind()
        self._requests = requests

    @property
    def level(self) -> str:
        """The least severe that is written, here and by whoever else writes lines."""
        name: str = logging.getLevelName(self._log.get_effective_level())
        return name.lower()

    def write_from(self, level: str) -> None:
        """From now on, lines of this level and above, whoever writes them. A line tells so, at either level."""
        before = self.level
        self._use(min(before, level, key=_severity))
        self._log.warning("log level changed", before=before, now=level)
        self._use(level)

    def _use(self, level: str) -> None:
        structlog.configure(wrapper_class=_from_level(level))
        self._log = structlog.get_logger().bind()

    def observe(self, event: Event) -> None:
        """See `Observer.observe`."""
        match event:
            case RequestAnswered() if self._requests:
                self._answered(event)
            case RequestFailed():
                self._failed(event)
            case VariantLoaded():
                self._log.debug(
                    "variant loaded", variant=event.name, version=event.version, load_s=round(event.load_s, 3)
                )
                if event.left_to_cpu:
                    operators = ", ".join(event.left_to_cpu)
                    self._log.warning("operators left to the CPU", variant=event.name, operators=operators)
            case VariantRefused():
                self._log.error("variant refused", variant=event.name, version=event.version, reason=event.reason)
            case VariantChanged():
                self._changed(event)
            case StoreUnread():
                if event.news:
                    self._log.error("store not read", reason=event.reason, exc_info=event.cause)
            case LifecycleChanged():
                self._log.info(event.state, **({"detail": event.detail} if event.detail else {}))
            case WorkerChanged(at_work=True):
                self._log.info("worker started", worker=event.number, detail=event.detail)
            case WorkerChanged():
                self._log.error("worker ended", worker=event.number, detail=event.detail)

    def _changed(self, event: VariantChanged) -> None:
        """What was refused has a line of its own."""
        change = event.change
        if change.kind is not ChangeKind.REFUSED:
            fields = {"variant": change.name, "version": change.version, "detail": change.reason}
            self._log.info(f"variant {change.kind}", **fields, seconds=round(event.seconds, 3))

    def _answered(self, event: RequestAnswered) -> None:
        answer = event.answer
        decision, timing = answer.decision, answer.timing
        self._log.info(
            "request answered",
            request_id=answer.request_id,
            protocol=event.protocol,
            variant=decision.variant.name,
            version=decision.variant.version,
            trained=decision.variant.trained,
            reason=decision.reason.value,
            budget_ms=_ms(answer.budget_s),
            met=answer.budget_met,
            total_ms=_ms(timing.total_s),
            queue_ms=_ms(timing.queue_s),
            decode_ms=_ms(timing.decode_s),
            inference_ms=_ms(timing.inference_s),
            expected_ms=_ms(decision.expected_s),
            image_bytes=event.image_bytes,
            terminated=None if decision.terminated is None else decision.terminated.name,
            **_traced(event.journey),
        )

    def _failed(self, event: RequestFailed) -> None:
        """Faults of ours are errors with their traceback; a client's mistakes are information."""
        if event.kind is not ErrorKind.INTERNAL and not self._requests:
            return
        fields = {
            "request_id": event.request_id,
            "protocol": event.protocol,
            "kind": event.kind.value,
            "error": event.detail,
            "total_ms": _ms(event.total_s),
            "budget_ms": None if event.budget_s is None else _ms(event.budget_s),
            **_traced(event.journey),
        }
        if event.kind is ErrorKind.INTERNAL:
            self._log.error("request failed", exc_info=event.cause or True, **fields)
        else:
            self._log.info("request failed", **fields)


def _traced(journey: Journey | None) -> dict[str, str]:
    return {} if journey is None else {"trace_id": journey.trace.trace_id, "span_id": journey.trace.span_id}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
