"""Sockets that listen: bound early, and closed without losing who is about to come in.

Closing a listening socket resets the connections that wait in its backlog, those among them that came a moment before.
So the kernel is told to take no new handshakes first, and what has begun is taken in.
"""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator

HANDSHAKE_S = 0.2
"""How long a handshake may take that had begun when the service stopped accepting."""
SO_ATTACH_FILTER = 26
"""Linux: asm-generic/socket.h; Python does not name it."""
NO_HANDSHAKES = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""Socket filter (classic BPF: code, jump if true, jump if false, operand): load byte 13 of the TCP header, the flags;
drop the segment when SYN is among them, else keep all of it."""


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that has the port and does not listen yet. Raises `OSError` when it is taken.

    `shared`: others of this user may have it, too, if they say the same.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def refuses_handshakes(listener: socket.socket) -> bool:
    """Let the system drop connections that would begin now; their clients try again and are refused when the listener
    is closed. False where the system has no such filter: then one that comes between the last look into the backlog
    and the close is reset."""
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in NO_HANDSHAKES)
    kept = ctypes.create_string_buffer(program)
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(NO_HANDSHAKES), ctypes.addressof(kept))
        )
        return True
    return False


def backlog(listener: socket.socket) -> Iterator[socket.socket]:
    """Connections that the system has accepted and the server has not seen yet."""
    # A copy, because event loops close the socket that they listen on.
    with listener.dup() as copy:
        copy.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                yield copy.accept()[0]
