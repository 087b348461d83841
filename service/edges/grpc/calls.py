"""What every call has in common: its message, its id, and how its failures are told, counted and shown."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.core.errors import EffserveError, ErrorKind, fault
from service.core.values import Question
from service.dataplane import Dataplane
from service.edges.grpc import convert
from service.edges.request_ids import request_id
from service.edges.status import STATUS

PROTOCOL = "grpc"
RETRY_ELSEWHERE_S = 0.1
"""Long enough for a load balancer to offer another instance."""

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)


def read(received: M | DecodeError) -> M:
    """The message. Raises `EffserveError(MALFORMED_REQUEST)` when the bytes were none."""
    if isinstance(received, DecodeError):
        raise EffserveError(
            ErrorKind.MALFORMED_REQUEST, "the request's bytes are not the message that the method takes"
        )
    return received


def identified(context: Context, given: str = "") -> str:
    """The request's id: from the message, else from the metadata, else a new one."""
    return request_id(given or metadata(context, "x-request-id"))


def metadata(context: Context, name: str) -> str | None:
    """A text that the client sent beside the message."""
    sent = dict(context.invocation_metadata() or ()).get(name)
    return sent if isinstance(sent, str) else None


def shutting_down() -> EffserveError:
    """Why a stopping server refuses a call."""
    detail = "the service is shutting down; another instance will answer"
    return EffserveError(ErrorKind.DRAINING, detail, retry_after_s=RETRY_ELSEWHERE_S)


@contextmanager
def telling(dataplane: Dataplane, name: str, started_s: float, asked: Question | None = None) -> Iterator[None]:
    """Tell the observer of a failure found here; one that nobody foresaw is named INTERNAL, its cause kept."""
    try:
        yield
    except Exception as error:
        failure = error if isinstance(error, EffserveError) else fault(error)
        dataplane.failed(
            protocol=PROTOCOL,
            request_id=name,
            error=failure,
            deadline=None if asked is None else asked.deadline,
            started_s=started_s,
            variant=None if asked is None else asked.variant,
        )
        if failure is error:
            raise
        raise failure from error


@asynccontextmanager
async def aborting(context: Context, name: str) -> AsyncIterator[None]:
    """A failure inside ends the call with its status and metadata."""
    try:
        yield
    except EffserveError as error:
        await context.abort(STATUS[error.kind].grpc, error.detail, convert.error_metadata(error, name))
