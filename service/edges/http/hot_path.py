"""`POST /classify` goes straight to its function; everything else through the framework.

FastAPI's middleware, routing and dependency resolution would cost half a millisecond of each budget. The OpenAPI page
still shows the route, because the framework knows it too.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.core.errors import EffserveError

OnError = Callable[[Request, Exception], Awaitable[Response]]


class HotPath:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        classify: Callable[[Request], Awaitable[Response]],
        on_failure: OnError,
        on_defect: OnError,
    ) -> None:
        self._app = app
        self._classify = classify
        self._on_failure = on_failure
        self._on_defect = on_defect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] != "/classify" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._classify(request)
        except EffserveError as error:
            return await self._on_failure(request, error)
        except Exception as error:
            # The edge's one broad catch: a defect is told to the observer and answered like any failure.
            return await self._on_defect(request, error)
