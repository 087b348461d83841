"""Failures as problem details (RFC 9457): every error answer of the HTTP edge is made here, from the status table."""

import math

from starlette.responses import JSONResponse

from service.core.errors import EffserveError, ErrorKind
from service.edges.status import STATUS

MEDIA_TYPE = "application/problem+json"


def problem(error: EffserveError, request_id: str) -> JSONResponse:
    """The answer for one failure. Its facts stand as extension members beside the standard ones."""
    status = STATUS[error.kind]
    content = {
        "type": f"/problems/{error.kind}",
        "title": status.title,
        "status": status.http,
        "detail": error.detail,
        "kind": str(error.kind),
        "request_id": request_id,
        **error.facts,
    }
    headers = {"X-Request-Id": request_id}
    if error.retry_after_s is not None:
        # Whole seconds, as the header wants them; the exact figure is in the body.
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        content["retry_after_ms"] = round(error.retry_after_s * 1e3)
    return JSONResponse(content, status.http, headers, MEDIA_TYPE)


def describe(kind: ErrorKind) -> dict[str, str | int]:
    """What `/problems/{kind}` says."""
    status = STATUS[kind]
    return {
        "kind": str(kind),
        "title": status.title,
        "advice": status.advice,
        "http_status": status.http,
        "grpc_status": status.grpc.name,
    }
