"""Server-sent events: a response that goes on, in the format that browsers and `curl -N` read.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Nobody on the way keeps events back; the second is nginx's own."""


def event(name: str, document: str) -> bytes:
    """One event. `document` is a line of JSON."""
    return f"event: {name}\ndata: {document}\n\n".encode()


class EventStream(Response):
    """The first event is there when it is made, so what fails before can still be answered with a status."""

    media_type = MEDIA_TYPE

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(headers=HEADERS | headers)
        del self.headers["Content-Length"]
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Once the client has gone, the server drops what is sent."""
        async with aclosing(self._rest):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for event in self._rest:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
