"""What the OpenAPI page cannot find out itself: the three forms of an upload, events, failures by status, and what the
Open Inference Protocol takes.

Failures are documented from the one table of statuses. What FastAPI says of parameters that do not fit is left out:
here those end as problems too.
"""

from collections.abc import Iterable
from typing import Any

from service.core.errors import ErrorKind
from service.edges.http import events, tensors
from service.edges.http.models import ProblemModel
from service.edges.http.problems import MEDIA_TYPE
from service.edges.status import CHANGES, STATUS

Document = dict[str, Any]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["image"], "properties": {"image": _BINARY["schema"]}}
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "contentEncoding": "base64"}},
                }
            },
        },
    }
}


def _stream(description: str, names: list[str], example: str) -> dict[str, Any]:
    """Server-sent events; the schema is that of each one."""
    schema = {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"type": "string", "enum": names},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    }
    return {"description": description, "content": {events.MEDIA_TYPE: {"schema": schema, "example": example}}}


EVENTS = _stream(
    "`event: answer` for each answer that a better one may follow and `event: final` for the last, with the JSON of "
    "`/classify` as data; or `event: error` with a problem when it fails after the first.",
    ["answer", "final", "error"],
    'event: answer\ndata: {"final": false, …}\n\nevent: final\ndata: {"final": true, …}\n\n',
)
PICTURES = _stream(
    "`event: state` once a second: `health` as in `/readyz`, `table` as in `/variants`, `plan` as in `/plan` for a "
    "request that names nothing, `arrivals_per_s`, `slowdown`, and `last_minute`: the requests that `met` or `missed` "
    "their budgets, were `refused` or `failed`, and the `answers` by variant.",
    ["state"],
    'event: state\ndata: {"health": {"status": "ready", …}, "table": {"variants": […]}, …}\n\n',
)

METRICS: dict[str, Any] = {
    "content": {
        "text/plain": {"schema": {"type": "string"}},
        "application/openmetrics-text": {"schema": {"type": "string"}},
    }
}
OF_UPLOADS = tuple(kind for kind in ErrorKind if kind is not ErrorKind.NOT_FOUND and kind not in CHANGES)
"""How a request with an image may fail."""
_BODY = (
    ErrorKind.MALFORMED_REQUEST, ErrorKind.UPLOAD_TIMEOUT, ErrorKind.REQUEST_TOO_LARGE,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE, ErrorKind.QUEUE_FULL,
)  # fmt: skip
OF_CHANGES = (
    *_BODY, ErrorKind.INVALID_PARAMETER, ErrorKind.UNSUPPORTED, ErrorKind.UNKNOWN_VARIANT, ErrorKind.DRAINING,
    ErrorKind.INTERNAL, ErrorKind.MEMORY_LIMIT, *sorted(CHANGES),
)  # fmt: skip
_OF_SETTINGS = (*_BODY, ErrorKind.INVALID_PARAMETER, ErrorKind.UNSUPPORTED, ErrorKind.CHANGES_FORBIDDEN)
_OPEN_INFERENCE: tuple[tuple[str, tuple[ErrorKind, ...]], ...] = (
    ("/infer", OF_UPLOADS),
    ("/repository/index", _BODY),
    ("/repository/models/", OF_CHANGES),
    ("post /v2/logging", _OF_SETTINGS),
    ("post /v2/trace/setting", _OF_SETTINGS),
    ("post /v2/models/{name}", (*_OF_SETTINGS, ErrorKind.UNKNOWN_VARIANT)),
    ("/models/{name}", (ErrorKind.UNKNOWN_VARIANT,)),
)
"""Part of a method and a path below `/v2` → how it may fail; the first that is found."""


def answers(model: type, *kinds: ErrorKind) -> dict[int | str, dict[str, Any]]:
    """Documented answers: the model, and the problems by status."""
    return {200: {"model": model}, **failures(*kinds)}


def failures(*kinds: ErrorKind) -> dict[int | str, dict[str, Any]]:
    """Problems by status."""
    titles: dict[int, list[str]] = {}
    for kind in kinds:
        titles.setdefault(STATUS[kind].http, []).append(STATUS[kind].title)
    schema = {MEDIA_TYPE: {"schema": ProblemModel.model_json_schema()}}
    return {status: {"description": "; ".join(said), "content": schema} for status, said in titles.items()}


def completed(document: Document) -> Document:
    """The document that FastAPI makes, with what it cannot know."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _without_validation_errors(operation["responses"])
            if path == "/v2" or path.startswith("/v2/"):
                _describe_open_inference(f"{method} {path}", operation)
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)
    return document


def open_inference_status(kind: ErrorKind) -> int:
    """The protocol knows 400 for whatever is wrong with a request, so 422 becomes that."""
    status = STATUS[kind].http
    return 400 if status == 422 else status


def _without_validation_errors(responses: Document) -> None:
    content = responses.get("422", {}).get("content", {})
    if "HTTPValidationError" in str(content.get("application/json")):
        del responses["422"]


def _settings(properties: Document) -> Document:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    description = "What is not given, or null, stays; null in trace settings is what it was at the start."
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_SWITCH: Document = {"type": ["boolean", "null"]}
_LOG: Document = {
    "log_info": _SWITCH,
    "log_warning": _SWITCH,
    "log_error": _SWITCH,
    "log_verbose_level": {"type": ["integer", "null"], "minimum": 0},
    "log_file": {"enum": ["", None]},
    "log_format": {"enum": ["ISO8601", None]},
}
_TRACE: Document = {
    "trace_level": {"enum": [["OFF"], ["TIMESTAMPS"], "OFF", "TIMESTAMPS", None]},
    "trace_rate": {"type": ["string", "null"], "pattern": "^[0-9]{1,9}$"},
    "trace_count": {"enum": ["-1", None]},
    "trace_mode": {"enum": ["opentelemetry", None]},
}


def _describe_open_inference(path: str, operation: Document) -> None:
    kinds: Iterable[ErrorKind] = next((kinds for part, kinds in _OPEN_INFERENCE if part in path), ())
    failure = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    titles: dict[str, list[str]] = {}
    for kind in kinds:
        titles.setdefault(str(open_inference_status(kind)), []).append(STATUS[kind].title)
    for status, said in titles.items():
        content = {"application/json": {"schema": failure}}
        operation["responses"][status] = {"description": "; ".join(dict.fromkeys(said)), "content": content}
    if path.endswith("/ready"):
        operation["responses"]["503"] = {"description": "Not ready", "content": {"application/json": {"schema": {}}}}
    if path.endswith("/infer"):
        operation["requestBody"] = _INFERENCE
        operation["responses"]["200"]["content"]["application/octet-stream"] = _BINARY
    if path in ("post /v2/logging", "post /v2/trace/setting"):
        operation["requestBody"] = _settings(_LOG if path.endswith("/logging") else _TRACE)


def _inlined(schema: Any, definitions: Document) -> Any:  # noqa: ANN401 - any part of a schema
    """A schema without references, which would lead nowhere inside another document."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items() if name != "$defs"}


def _of_request() -> Document:
    schema = tensors.Request.model_json_schema()
    return {"schema": _inlined(schema, schema["$defs"])}


_INFERENCE: Document = {
    "description": "JSON, with binary tensors behind it where `Inference-Header-Content-Length` says so; or, with 0 in "
    "that header, an encoded image alone.",
    "required": True,
    "content": {"application/json": _of_request(), "application/octet-stream": _BINARY},
}
