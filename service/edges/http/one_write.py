"""The head of a response leaves together with its body.

uvicorn writes the head first and the body after it: two system calls, two packets, and a client that is woken by the
first one takes the core that the second is being written on.
"""

import asyncio
from typing import Any

HEAD, END = b"HTTP/1.1 ", b"\r\n\r\n"


class OneWrite:
    """A transport that keeps the head of a response until the next write, or until its loop comes round. Everything
    else is the transport's own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See `asyncio.WriteTransport.write`."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(HEAD) and data.endswith(END):
            self._head = data
            asyncio.get_running_loop().call_soon(self.flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """See `asyncio.BaseTransport.close`."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is kept, unless nobody can be told any more."""
        if self._head and not self._transport.is_closing():
            self.write(b"")
