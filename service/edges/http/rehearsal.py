"""A photo of our own, before anybody can ask: what Python and its libraries put off until first use is done by then.

Pillow looks for its formats, serialisers are built, every function on the way runs for the first time: without it the
first visitor waits some 20 ms longer, which is a budget for others.
"""

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp


async def rehearse(app: ASGIApp, image: bytes) -> int:
    """Post an image to `/classify` as a server would. Returns the status of the answer."""
    headers = [(b"content-type", b"image/jpeg"), (b"content-length", str(len(image)).encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/classify", "raw_path": b"/classify", "query_string": b"explain=true", "root_path": "",
        "headers": headers, "client": None, "server": None, "state": {},
    }  # fmt: skip
    said: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": image, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    await app(scope, receive, send)
    status: int = said[0]["status"]
    return status
