"""What the OpenAPI page cannot find out itself: the three forms of an upload, and the problems by status."""

from typing import Any

from service.core.errors import ErrorKind
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


def answers(model: type, *kinds: ErrorKind) -> dict[int | str, dict[str, Any]]:
    """Documented answers: the model, and the problems by status."""
    titles: dict[int, list[str]] = {}
    for kind in kinds:
        titles.setdefault(STATUS[kind].http, []).append(STATUS[kind].title)
    schema = {MEDIA_TYPE: {"schema": ProblemModel.model_json_schema()}}
    problems: dict[int | str, dict[str, Any]] = {
        status: {"description": "; ".join(said), "content": schema} for status, said in titles.items()
    }
    return {200: {"model": model}, **problems}
