"""What every call has in common: its message, who it is from, and how its failures are told, counted and shown."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.core.errors import EffserveError, ErrorKind, fault
from service.core.trace import Trace, Tracer, untraced
from service.core.values import Question
from service.dataplane import Dataplane
from service.edges.grpc import convert
from service.edges.request_ids import TRACE_HEADER, request_id
from service.edges.status import STATUS

PROTOCOL = "grpc"
RETRY_ELSEWHERE_S = 0.1
"""Long enough for a load balancer to offer another instance."""

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request is called, by itself and in a trace."""

    request_id: str
    trace: Trace | None = None

    @property
    def trace_metadata(self) -> convert.Metadata:
        """What the end of a call says of its trace."""
        return () if self.trace is None else ((TRACE_HEADER, self.trace.header),)


def read(received: M | DecodeError) -> M:
    """The message. Raises `EffserveError(MALFORMED_REQUEST)` when the bytes were none."""
    if isinstance(received, DecodeError):
        raise EffserveError(
            ErrorKind.MALFORMED_REQUEST, "the request's bytes are not the message that the method takes"
        )
    return received


def identified(context: Context, given: str = "", tracer: Tracer = untraced) -> Caller:
    """The request's id from the message, else from the metadata, else a new one; and its place in a trace."""
    return Caller(request_id(given or metadata(context, "x-request-id")), traced(context, tracer))


def traced(context: Context, tracer: Tracer) -> Trace | None:
    """A place in the trace of a call's caller, if it sent one; else in a new one. None where nothing is traced."""
    return tracer(metadata(context, "traceparent"), metadata(context, "tracestate"))


def metadata(context: Context, name: str) -> str | None:
    """A text that the client sent beside the message."""
    sent = dict(context.invocation_metadata() or ()).get(name)
    return sent if isinstance(sent, str) else None


def all_metadata(context: Context, name: str) -> str | None:
    """The same; what was sent several times is the list of its values, as gRPC and HTTP have it."""
    values = [value for key, value in context.invocation_metadata() or () if key == name and isinstance(value, str)]
    return ", ".join(values) if values else None


def shutting_down() -> EffserveError:
    """Why a stopping server refuses a call."""
    detail = "the service is shutting down; another instance will answer"
    return EffserveError(ErrorKind.DRAINING, detail, retry_after_s=RETRY_ELSEWHERE_S)


@contextmanager
def telling(dataplane: Dataplane, caller: Caller, started_s: float, asked: Question | None = None) -> Iterator[None]:
    """Tell the observer of a failure found here; one that nobody foresaw is named INTERNAL, its cause kept."""
    try:
        yield
    except Exception as error:
        failure = error if isinstance(error, EffserveError) else fault(error)
        dataplane.failed(
            protocol=PROTOCOL,
            request_id=caller.request_id,
            error=failure,
            deadline=None if asked is None else asked.deadline,
            started_s=started_s,
            variant=None if asked is None else asked.variant,
            trace=caller.trace,
        )
        if failure is error:
            raise
        raise failure from error


@asynccontextmanager
async def aborting(context: Context, caller: Caller) -> AsyncIterator[None]:
    """A failure inside ends the call with its status and metadata."""
    try:
        yield
    except EffserveError as error:
        told = convert.error_metadata(error, caller.request_id) + caller.trace_metadata
        await context.abort(STATUS[error.kind].grpc, error.detail, told)
