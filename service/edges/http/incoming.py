"""What every route asks of a request: when it began, what it is called, and which trace it belongs to."""

from collections.abc import Callable

from starlette.requests import Request

from service.core.trace import Trace, Tracer
from service.edges.request_ids import request_id


def started_s(request: Request, clock: Callable[[], float]) -> float:
    """First byte, as the server noted it; other ASGI servers do not, so there it is now."""
    if not hasattr(request.state, "started_s"):
        request.state.started_s = clock()
    began_s: float = request.state.started_s
    return began_s


def identity(request: Request, given: str = "") -> str:
    """The request's id: from the header, else what its body gives, else a new one."""
    if not hasattr(request.state, "request_id"):
        request.state.request_id = request_id(request.headers.get("x-request-id", given))
    name: str = request.state.request_id
    return name


def field(request: Request, name: str) -> str | None:
    """A header; one that was sent several times is the list of its values, as HTTP has it."""
    values = request.headers.getlist(name)
    return ", ".join(values) if values else None


def traced(request: Request, tracer: Tracer) -> Trace | None:
    """Give the request its place in a trace, that of its caller if it sent one."""
    headers = request.headers
    place = request.state.trace = tracer(headers.get("traceparent"), ",".join(headers.getlist("tracestate")) or None)
    return place


def trace(request: Request) -> Trace | None:
    """The place it was given; None where nothing is traced."""
    place: Trace | None = getattr(request.state, "trace", None)
    return place
