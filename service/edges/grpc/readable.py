"""Bytes that are not a message are the client's fault, and are named so.

grpc.aio answers them with UNKNOWN and the text of a Python exception, writes a traceback to the log, and ends a stream.
Here the exception is handed to the method in place of the message; the method names it MALFORMED_REQUEST.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message


class Readable(grpc.aio.ServerInterceptor):
    """Applies to the methods of these services."""

    def __init__(self, *services: str) -> None:
        self._prefixes = tuple(f"/{service}/" for service in services)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[object]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The method's handler, reading what it can; None for an unknown method."""
        handler: Any = await continuation(handler_call_details)
        if handler is not None and handler_call_details.method.startswith(self._prefixes):
            handler = handler._replace(request_deserializer=_or_error(handler.request_deserializer))
        known: grpc.RpcMethodHandler[Any, Any] | None = handler
        return known


def _or_error(parse: Callable[[bytes], Message]) -> Callable[[bytes], Message | DecodeError]:
    def parsed(raw: bytes) -> Message | DecodeError:
        try:
            return parse(raw)
        except DecodeError as error:
            return error

    return parsed
