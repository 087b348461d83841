"""Who is handed a connection."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from service.edges.http.listening import bound
from service.workers.passing import Acceptor, Adopting, Seat

PATIENCE_S = 30.0


class Desk:
    """A worker that keeps what it gets."""

    def __init__(self, on_lost: Callable[[], None] = lambda: None) -> None:
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.seat = Seat(ours)
        self.seat.open = True
        self.got: list[socket.socket] = []
        self.adopting = Adopting(self._theirs, self._keep, on_lost)

    async def _keep(self, connection: socket.socket) -> None:
        self.got.append(connection)

    def die(self) -> None:
        """Without a word."""
        asyncio.get_running_loop().remove_reader(self._theirs)
        self._theirs.close()

    async def close(self) -> None:
        """Whatever has become of it."""
        self.seat.close()
        if self._theirs.fileno() != -1:
            await self.adopting.stop()
        for connection in self.got:
            connection.close()


@asynccontextmanager
async def hall(*desks: Desk) -> AsyncIterator[tuple[Acceptor, int]]:
    """A port with desks behind it."""
    listener = bound("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    acceptor = Acceptor(listener, lambda: [desk.seat for desk in desks])
    for desk in desks:
        desk.adopting.start()
    acceptor.start()
    try:
        yield acceptor, port
    finally:
        await acceptor.stop()
        for desk in desks:
            await desk.close()


async def come(port: int, times: int = 1) -> list[socket.socket]:
    """Clients, one after the other."""
    return [await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), PATIENCE_S) for _ in range(times)]


async def until_got(count: int, *desks: Desk) -> list[int]:
    """How many connections each has, once it is so many together."""
    async with asyncio.timeout(PATIENCE_S):
        while sum(len(desk.got) for desk in desks) < count:  # noqa: ASYNC110 - desks count by themselves
            await asyncio.sleep(0.005)
    return [len(desk.got) for desk in desks]


@pytest.fixture
def desks() -> tuple[Desk, Desk]:
    """Two of one lane each."""
    return Desk(), Desk()


async def test_connections_go_to_whoever_has_fewest(desks: tuple[Desk, Desk]) -> None:
    """In turns, and to the one that has lost some."""
    one, other = desks
    async with hall(*desks) as (_, port):
        clients = await come(port, 4)
        assert await until_got(4, *desks) == [2, 2]
        one.seat.lost = 2
        clients += await come(port, 2)
        assert await until_got(6, *desks) == [4, 2]
    for client in clients:
        client.close()
    assert other.seat.load == 2


async def test_who_has_more_lanes_gets_more(desks: tuple[Desk, Desk]) -> None:
    """Three times as many, here."""
    desks[0].seat.lanes = 3
    async with hall(*desks) as (_, port):
        clients = await come(port, 8)
        assert await until_got(8, *desks) == [6, 2]
    for client in clients:
        client.close()


async def test_a_connection_is_served_by_who_is_left(desks: tuple[Desk, Desk]) -> None:
    """One that died is found out by handing it a connection, which goes to the other one."""
    one, other = desks
    async with hall(*desks) as (_, port):
        one.die()
        clients = await come(port, 3)
        assert await until_got(3, other) == [3]
        assert not one.seat.open
    for client in clients:
        client.close()


async def test_connections_wait_until_somebody_is_there(desks: tuple[Desk, Desk]) -> None:
    """None is turned away meanwhile."""
    one, other = desks
    one.seat.open = other.seat.open = False
    async with hall(*desks) as (acceptor, port):
        clients = await come(port, 3)
        other.seat.open = True
        acceptor.look_again()
        assert await until_got(3, other) == [3]
    for client in clients:
        client.close()


async def test_who_has_come_when_it_stops_is_handed_over(desks: tuple[Desk, Desk]) -> None:
    """Those that wait in the system's backlog as well; later ones are refused."""
    async with hall(*desks) as (acceptor, port):
        clients = await come(port, 5)
        await acceptor.stop()
        for desk in desks:
            await desk.adopting.stop()
        assert sum(len(desk.got) for desk in desks) == 5
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    for client in clients:
        client.close()


@pytest.mark.parametrize(("number", "stays"), [(errno.ETOOMANYREFS, True), (errno.EPIPE, False)])
async def test_a_seat_closes_only_when_its_worker_is_gone(
    desks: tuple[Desk, Desk], monkeypatch: pytest.MonkeyPatch, number: int, stays: bool
) -> None:
    """Too many descriptors on their way are a passing trouble."""

    def failing(*_: object) -> int:
        raise OSError(number, "made")

    monkeypatch.setattr(socket, "send_fds", failing)
    with socket.socket() as connection:
        assert not desks[0].seat.take(connection)
    assert desks[0].seat.open is stays
    for desk in desks:
        await desk.close()


async def test_a_connection_for_which_no_descriptor_was_free_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has closed it; whoever counts connections has to know."""
    lost: list[bool] = []
    desk = Desk(lambda: lost.append(True))
    monkeypatch.setattr(socket, "recv_fds", lambda *_: (b"" if lost else b"c", [], 0, None))
    desk.adopting.start()
    await desk.adopting.stop()
    desk.seat.close()
    assert lost == [True]
