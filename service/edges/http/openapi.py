"""What the OpenAPI page cannot find out itself: the three forms of an upload, events, and the problems by status."""

from typing import Any

from service.core.errors import ErrorKind
from service.edges.http import events
from service.edges.http.models import ProblemModel
from service.edges.http.problems import MEDIA_TYPE
from service.edges.status import STATUS

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
EVENTS: dict[str, Any] = {
    "description": "`event: answer` for each answer that a better one may follow and `event: final` for the last, with "
    "the JSON of `/classify` as data; or `event: error` with a problem when it fails after the first.",
    "content": {
        events.MEDIA_TYPE: {
            "schema": {"type": "string"},
            "example": 'event: answer\ndata: {"final": false, …}\n\nevent: final\ndata: {"final": true, …}\n\n',
        }
    },
}


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
