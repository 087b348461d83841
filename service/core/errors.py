"""Everything that can go wrong with a request, by name.

The core and the pipeline raise `EffserveError` with one `ErrorKind`. They know nothing of HTTP or gRPC: each
edge holds a total table kind → status, and a test walks this enum to see that no kind is missing there.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class ErrorKind(StrEnum):
    """The named failures. The value is what a client reads, so it never changes once released."""

    EMPTY_IMAGE = "empty-image"
    """The body, field or message that should hold the image has no bytes."""
    UNDECODABLE_IMAGE = "undecodable-image"
    """The bytes are not an image, or the image is cut short or damaged."""
    MALFORMED_REQUEST = "malformed-request"
    """The envelope is broken: JSON, base64 or multipart that does not parse, or lacks the image."""
    UNKNOWN_VARIANT = "unknown-variant"
    """The request names a variant the store does not hold."""
    NOT_FOUND = "not-found"
    """No such path or method."""
    METHOD_NOT_ALLOWED = "method-not-allowed"
    """The path exists, the method does not apply to it."""
    IMAGE_TOO_LARGE = "image-too-large"
    """More bytes than the byte limit."""
    TOO_MANY_PIXELS = "too-many-pixels"
    """The header announces more pixels than the pixel limit."""
    REQUEST_TOO_LARGE = "request-too-large"
    """More bytes or more images in one request than the limit for them."""
    UPLOAD_TIMEOUT = "upload-timeout"
    """The request began and did not end in time."""
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    """A content type, content encoding or image format that the service does not read."""
    INVALID_PARAMETER = "invalid-parameter"
    """A parameter that is out of range, of the wrong type or unknown."""
    ACCURACY_UNAVAILABLE = "accuracy-unavailable"
    """No served variant reaches the wanted `min_accuracy`."""
    NOT_RESIDENT = "not-resident"
    """A variant that the service knows and does not keep in memory just now; asking for it has it loaded."""
    MEMORY_LIMIT = "memory-limit"
    """A variant that does not fit into the memory that variants may take."""
    UNSUPPORTED = "unsupported"
    """Something that the protocol has and this service does not do."""
    CHANGES_FORBIDDEN = "changes-forbidden"
    """Loading, unloading, reloading, or another setting, which the operator has not allowed."""
    CHANGE_REFUSED = "change-refused"
    """A change of what is served after which the service could not do its work."""
    LOAD_FAILED = "load-failed"
    """A version in the store that is damaged or cannot be run; what was served before still is."""
    INFEASIBLE_BUDGET = "infeasible-budget"
    """Strict mode, and not even the cheapest eligible variant would finish inside the budget."""
    QUEUE_FULL = "queue-full"
    """More work is waiting than the backlog limit allows, or more comes than can be answered in time."""
    DRAINING = "draining"
    """The service is shutting down: it takes no new work, or did not finish this in time."""
    CANCELLED = "cancelled"
    """The client went away before its answer was ready."""
    INTERNAL = "internal"
    """A fault of the service itself; the log has the cause under the request id."""


@dataclass(eq=False)
class EffserveError(Exception):
    """A failure with a name.

    `detail` is one sentence for the client. `facts` are named figures that a client may act on, for example
    `smallest_feasible_budget_ms` or `limit_bytes`. `retry_after_s` is set where trying again later makes sense.
    """

    kind: ErrorKind
    detail: str
    facts: dict[str, float | int | str] = field(default_factory=dict)
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def fault(cause: BaseException) -> EffserveError:
    """A fault of ours: the client gets the request id, the log gets the cause."""
    error = EffserveError(ErrorKind.INTERNAL, "the service failed; the log has the cause under the request id")
    error.__cause__ = cause
    return error
