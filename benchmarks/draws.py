"""How evenly the kernel shares out connections among sockets on one port: `python -m benchmarks.draws`.

Two or more sockets listen on a port with `SO_REUSEPORT`, as workers do for gRPC, and for each connection the kernel
draws one of them by the addresses of both ends. No server is needed: some clients connect, and each socket takes what
came to it (docs/decisions/0014-workers.md).
"""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated

import typer

from benchmarks import report
from benchmarks.report import Table

HOST = "127.0.0.1"
Split = tuple[int, ...]
"""Connections of each socket, the most first."""


def draw(workers: int, clients: int) -> Split:
    """Of so many that connect one after the other."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(one) for one in _sharing(workers)]
        port = listeners[0].getsockname()[1]
        for _ in range(clients):
            stack.enter_context(socket.create_connection((HOST, port)))
        return tuple(sorted((sum(1 for _ in _waiting(one)) for one in listeners), reverse=True))


def _sharing(workers: int) -> Iterator[socket.socket]:
    """Any port that is free; all of them have it."""
    port = 0
    for _ in range(workers):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((HOST, port))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1]
        yield listener


def _waiting(listener: socket.socket) -> Iterator[None]:
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return
        yield


def table(workers: int, clients: int, rounds: int) -> Table:
    """Share of the rounds by how connections were split, the most frequent first."""
    splits = Counter(draw(workers, clients) for _ in range(rounds))
    rows = [(":".join(map(str, split)), f"{many / rounds:.1%}") for split, many in splits.most_common()]
    note = f"Of {rounds} rounds, by SO_REUSEPORT. Passed on to whoever has fewest, connections differ by one at most."
    return Table(f"{clients} clients on {workers} sockets", ("", "share"), rows, note)


def main(
    workers: Annotated[int, typer.Option(min=2, help="Sockets on one port.")] = 2,
    rounds: Annotated[int, typer.Option(min=1)] = 2_000,
) -> None:
    """Draw for four clients and for eight, and print the tables."""
    report.show([table(workers, clients, rounds) for clients in (4, 8)])


if __name__ == "__main__":
    typer.run(main)
