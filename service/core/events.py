"""Facts about the service, as frozen values. The path emits them; metrics, logs and traces subscribe.

One event names each outcome of a request, so that counters, log lines and spans cannot disagree.
"""

from dataclasses import dataclass
from typing import Protocol

from service.core.errors import ErrorKind
from service.core.messages import Answer, Change
from service.core.trace import Journey
from service.core.values import Variant


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """An answer was handed to its edge."""

    protocol: str
    answer: Answer
    image_bytes: int
    alone: Variant | None
    """What would have answered had nobody else been there; None when nothing would have fitted the budget."""
    journey: Journey | None = None
    """None when it is not traced."""


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request ended in a named error."""

    protocol: str
    request_id: str
    kind: ErrorKind
    detail: str
    total_s: float
    budget_s: float | None
    """None when the request failed before its budget was understood."""
    cause: BaseException | None = None
    """Set for `ErrorKind.INTERNAL`."""
    variant: str | None = None
    """What the request named, served or not."""
    journey: Journey | None = None
    """None when it is not traced."""
    wanted: str | None = None
    """A variant that is not in memory and would have to be, for such a request to be answered."""


@dataclass(frozen=True, slots=True)
class VariantLoaded:
    """A session is resident and warm."""

    name: str
    version: int
    load_s: float
    macs: int
    params: int
    rank_top1: float | None
    trained: bool
    left_to_cpu: tuple[str, ...] = ()
    """Operators that run on the CPU because the execution provider has no kernel for them, with their counts."""


@dataclass(frozen=True, slots=True)
class VariantRefused:
    """A store entry is not served."""

    name: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class VariantChanged:
    """What is served was to change while the service runs, and did or did not."""

    change: Change
    seconds: float
    """From the beginning until the old one, if there was one, was free."""


@dataclass(frozen=True, slots=True)
class StoreUnread:
    """A look at the store, or at one variant in it, came to nothing while the service runs; what is served stays."""

    reason: str
    cause: BaseException | None = None
    """Set for a fault of ours."""
    news: bool = True
    """Unset when the look before came to nothing for the same reason."""


@dataclass(frozen=True, slots=True)
class LifecycleChanged:
    """The service went through `starting → ready → draining → closing → stopped`."""

    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WorkerChanged:
    """One of several workers is at work again, or is not."""

    number: int
    at_work: bool
    detail: str = ""


Event = (
    RequestAnswered
    | RequestFailed
    | VariantLoaded
    | VariantRefused
    | VariantChanged
    | StoreUnread
    | LifecycleChanged
    | WorkerChanged
)


class Observer(Protocol):
    """Whoever wants to know. Must not block and must not raise."""

    def observe(self, event: Event) -> None:
        """Take note of one event. Called on the event loop (requests) or at start-up (variants)."""


class Fanout:
    """Hands each event to several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def observe(self, event: Event) -> None:
        """Pass the event on, in the order the observers were given."""
        for observer in self._observers:
            observer.observe(event)
