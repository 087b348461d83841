"""One total table: each kind of failure → its HTTP status, its gRPC status, and what it means.

The problem pages, the documentation and the tests read this table; nothing else maps a kind to a status.
"""

from dataclasses import dataclass

from grpc import StatusCode

from service.core.errors import ErrorKind


@dataclass(frozen=True, slots=True)
class Status:
    """How one kind of failure looks on each protocol."""

    http: int
    grpc: StatusCode
    title: str
    advice: str
    """What a client can do about it."""


STATUS: dict[ErrorKind, Status] = {
    ErrorKind.EMPTY_IMAGE: Status(
        400, StatusCode.INVALID_ARGUMENT, "The image has no bytes", "Send the encoded image as the body."
    ),
    ErrorKind.UNDECODABLE_IMAGE: Status(
        400,
        StatusCode.INVALID_ARGUMENT,
        "The image cannot be decoded",
        "The bytes are not an image, or the file is cut short or damaged. Send it again, whole.",
    ),
    ErrorKind.MALFORMED_REQUEST: Status(
        400,
        StatusCode.INVALID_ARGUMENT,
        "The request is malformed",
        "The envelope (JSON, base64, multipart) does not parse, or lacks the image.",
    ),
    ErrorKind.UNKNOWN_VARIANT: Status(
        404, StatusCode.NOT_FOUND, "No such variant is served", "`GET /variants` lists those that are."
    ),
    ErrorKind.NOT_FOUND: Status(404, StatusCode.UNIMPLEMENTED, "No such path", "`/docs` lists the paths."),
    ErrorKind.METHOD_NOT_ALLOWED: Status(
        405,
        StatusCode.UNIMPLEMENTED,
        "The method does not apply to this path",
        "The `Allow` header lists those that do.",
    ),
    ErrorKind.IMAGE_TOO_LARGE: Status(
        413, StatusCode.RESOURCE_EXHAUSTED, "The image has too many bytes", "Stay within `limits.image_bytes`."
    ),
    ErrorKind.TOO_MANY_PIXELS: Status(
        413, StatusCode.RESOURCE_EXHAUSTED, "The image has too many pixels", "Stay within `limits.pixels`."
    ),
    ErrorKind.REQUEST_TOO_LARGE: Status(
        413,
        StatusCode.RESOURCE_EXHAUSTED,
        "The request has too many bytes or images",
        "Stay within `limits.request_bytes` and `limits.batch`, or send several requests.",
    ),
    ErrorKind.UPLOAD_TIMEOUT: Status(
        408,
        StatusCode.ABORTED,
        "The upload took too long",
        "Send the image whole; see `http.upload_timeout_s`.",
    ),
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: Status(
        415,
        StatusCode.INVALID_ARGUMENT,
        "The media type is not supported",
        "Send JPEG, PNG, WebP, GIF or BMP: raw as `image/*`, as the multipart field `image`, or as base64 in JSON.",
    ),
    ErrorKind.INVALID_PARAMETER: Status(
        422, StatusCode.INVALID_ARGUMENT, "A parameter is not valid", "The detail names the parameter and its range."
    ),
    ErrorKind.ACCURACY_UNAVAILABLE: Status(
        422,
        StatusCode.FAILED_PRECONDITION,
        "No variant can give the accuracy asked for",
        "Ask for less (`best_accuracy` names the most there is), or name a variant.",
    ),
    ErrorKind.NOT_RESIDENT: Status(
        503,
        StatusCode.UNAVAILABLE,
        "The variant is not in memory just now",
        "It is being loaded: try again after `Retry-After` seconds, or leave the choice to the budget.",
    ),
    ErrorKind.MEMORY_LIMIT: Status(
        507,
        StatusCode.RESOURCE_EXHAUSTED,
        "The variant does not fit into the memory that is set",
        "Name a smaller one; whoever runs the service sets the limit, `store.memory_limit_mib`.",
    ),
    ErrorKind.UNSUPPORTED: Status(
        501, StatusCode.UNIMPLEMENTED, "The service does not do this", "The detail says what to do instead."
    ),
    ErrorKind.CHANGES_FORBIDDEN: Status(
        403,
        StatusCode.PERMISSION_DENIED,
        "This must not be changed",
        "Whoever runs the service allows it, by `store.changes`, `log.changes` or `tracing.changes`.",
    ),
    ErrorKind.CHANGE_REFUSED: Status(
        409,
        StatusCode.FAILED_PRECONDITION,
        "The change would leave a service that cannot answer",
        "The detail says what is in the way.",
    ),
    ErrorKind.LOAD_FAILED: Status(
        422,
        StatusCode.FAILED_PRECONDITION,
        "The stored version cannot be served",
        "The detail says why; `POST /v2/repository/index` keeps the reason. What was served before still is.",
    ),
    ErrorKind.INFEASIBLE_BUDGET: Status(
        504,
        StatusCode.DEADLINE_EXCEEDED,
        "The budget is too small",
        "`smallest_feasible_budget_ms` names what would do now; `mode=best_effort` answers late instead.",
    ),
    ErrorKind.QUEUE_FULL: Status(
        503, StatusCode.UNAVAILABLE, "Too much work is waiting", "Try again after `Retry-After` seconds."
    ),
    ErrorKind.DRAINING: Status(
        503, StatusCode.UNAVAILABLE, "The service is shutting down", "Try another instance, or this one a little later."
    ),
    ErrorKind.CANCELLED: Status(
        499, StatusCode.CANCELLED, "The client went away", "Nobody reads this answer; it is counted and logged."
    ),
    ErrorKind.INTERNAL: Status(
        500,
        StatusCode.INTERNAL,
        "The service failed",
        "This is a defect. Report it with the request id, under which the log has the cause.",
    ),
}

CHANGES = frozenset({ErrorKind.CHANGES_FORBIDDEN, ErrorKind.CHANGE_REFUSED, ErrorKind.LOAD_FAILED})
"""Kinds that only who changes what is served meets."""
