"""What a stopping HTTP server does with connections that come in that moment."""

import asyncio
import socket
import time

from starlette.types import Receive, Scope, Send

from service.edges.http.server import HttpServer

PATIENCE_S = 30.0
CLIENTS = 8
ROUNDS = 3


async def _hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _ask_until_refused(port: int) -> list[str]:
    """One connection for each request; what was lost."""
    lost: list[str] = []
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        except ConnectionRefusedError:
            return lost
        with client:
            try:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if not client.recv(1000).startswith(b"HTTP/1.1 204"):
                    lost.append("closed without an answer")
            except ConnectionError as error:
                lost.append(repr(error))


async def test_a_connection_that_comes_while_the_server_stops_is_answered_or_refused() -> None:
    """Never accepted and then reset."""
    for _ in range(ROUNDS):
        server = HttpServer(_hello, clock=time.monotonic, keep_alive_s=5, timeout_s=10)
        port = server.bind("127.0.0.1", 0)
        await server.start()
        clients = [asyncio.create_task(asyncio.to_thread(_ask_until_refused, port)) for _ in range(CLIENTS)]
        await asyncio.sleep(0.1)
        await server.stop()
        assert await asyncio.gather(*clients) == [[]] * CLIENTS
