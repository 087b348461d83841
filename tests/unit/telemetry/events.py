"""Events as the path emits them, with figures that are easy to recognise."""

from service.core.errors import ErrorKind
from service.core.events import RequestAnswered, RequestFailed, VariantLoaded
from service.core.messages import Answer
from service.core.trace import Attempt, Journey, Trace
from service.core.values import Decision, ImageHeader, Reason, Timing
from tests.builders import variant

MACS = {"b0": 390_000_000, "b4": 4_200_000_000}
TIMING = Timing(receive_s=0.001, queue_s=0.002, decode_s=0.004, inference_s=0.016, respond_s=0.001)
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def journey(*attempts: Attempt, sampled: bool = True, parent_id: str | None = None, started_s: float = 1.0) -> Journey:
    """Of a request whose first byte came at `started_s`."""
    return Journey(Trace(TRACE_ID, SPAN_ID, parent_id, sampled), started_s, attempts)


def answered(
    name: str = "b0",
    *,
    protocol: str = "http",
    budget_s: float = 0.1,
    met: bool = True,
    reason: Reason = Reason.MOST_ACCURATE_THAT_FITS,
    trained: bool = True,
    timing: Timing = TIMING,
    expected_s: float = 0.02,
    terminated: str | None = None,
    alone: str | None = "",
    journey: Journey | None = None,
) -> RequestAnswered:
    """An answer to an image of 5000 bytes under the request id `id-1`; alone, the same variant would have answered."""
    before = None if terminated is None else variant(terminated)
    decision = Decision(variant(name, trained=trained), reason, 1.0, 0.09, expected_s, 0.03, met, (), before)
    header = ImageHeader("JPEG", 640, 480, 5000)
    answer = Answer("id-1", (), decision, timing, header, budget_s, met, ())
    best = None if alone is None else variant(alone or name)
    return RequestAnswered(protocol, answer, 5000, best, journey)


def failed(
    kind: ErrorKind,
    *,
    protocol: str = "http",
    budget_s: float | None = None,
    detail: str = "it does not work",
    cause: BaseException | None = None,
    journey: Journey | None = None,
) -> RequestFailed:
    """A failure after 3 ms under the request id `id-2`."""
    return RequestFailed(protocol, "id-2", kind, detail, 0.003, budget_s, cause, None, journey)


def loaded(name: str, macs: int | None = None) -> VariantLoaded:
    """A session that took 1.25 s to open."""
    return VariantLoaded(name, 1, 1.25, MACS[name] if macs is None else macs, 5_300_000, 0.771, True)
