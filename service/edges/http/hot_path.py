"""Images go straight to the function that takes them; everything else through the framework.

FastAPI's middleware, routing and dependency resolution would cost half a millisecond of each budget. The OpenAPI page
still shows the routes, because the framework knows them too.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.core.errors import EffserveError
from service.core.trace import Tracer
from service.edges.http.incoming import traced
from service.edges.request_ids import TRACE_HEADER

Take = Callable[[Request], Awaitable[Response]]
Find = Callable[[str], Take | None]
"""Path → what takes the images that are posted there, if anything does."""
OnError = Callable[[Request, Exception], Awaitable[Response]]


class HotPath:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, find: Find, *, tracer: Tracer, on_failure: OnError, on_defect: OnError) -> None:
        self._app = app
        self._find = find
        self._tracer = tracer
        self._on_failure = on_failure
        self._on_defect = on_defect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        take = self._find(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if take is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        place = traced(request, self._tracer)
        response = await self._answer(take, request)
        if place is not None:
            response.headers[TRACE_HEADER] = place.header
        await response(scope, receive, send)

    async def _answer(self, take: Take, request: Request) -> Response:
        try:
            return await take(request)
        except EffserveError as error:
            return await self._on_failure(request, error)
        except Exception as error:
            # The edge's one broad catch: a defect is told to the observer and answered like any failure.
            return await self._on_defect(request, error)
