"""A closed loop of keep-alive clients in a process of its own: `python -I loader.py ASKED`.

It runs on the cores that the servers need, so it does next to nothing: requests are whole before the first is sent, one
thread waits for all sockets, and an answer is searched for two numbers. Only the standard library, and none of our
packages: it starts in a twentieth of a second. What it sends and what it must find are the same for all servers.
"""

import gc
import json
import re
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass, field

HOST = "127.0.0.1"
TIMEOUT_S = 30.0
"""Without any answer."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """One turn."""

    port: int
    requests: list[str]
    """Files, each with a whole request: head and body."""
    classes: list[int]
    """What the answer to each of them must name first."""
    pattern: str
    """Finds that in the body of an answer: digits, or the bytes of a number, the least first."""
    clients: int
    warm_up_s: float
    seconds: float


@dataclass
class Told:
    """What came of it, after the warm-up."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    """Of the right answers, from the first byte sent to the last received."""
    answered_s: list[float] = field(default_factory=list)
    """When each of them was there, from the end of the warm-up on."""
    errors: dict[str, int] = field(default_factory=dict)
    """Wrong ones and none, by what was wrong."""
    cpu_s: float = 0.0
    """Of this process."""


class Client:
    """One connection, which carries one request at a time."""

    def __init__(self, asked: Asked, contents: list[bytes], first: int) -> None:
        self._asked, self._contents, self._next = asked, contents, first
        self._pattern = re.compile(asked.pattern.encode(), re.DOTALL)
        self._unsent = memoryview(b"")
        self.socket = socket.socket()
        self.connect()

    def connect(self) -> None:
        """Anew, where there was a connection before."""
        self.socket.close()
        self.socket = socket.create_connection((HOST, self._asked.port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def ask(self) -> int:
        """Begin the next request; which events to wait for."""
        self._current = self._next % len(self._contents)
        self._next += 1
        self._unsent, self._received = memoryview(self._contents[self._current]), bytearray()
        self.sent_s = time.perf_counter()
        return self.send()

    def send(self) -> int:
        """As much as goes now; which events to wait for."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return selectors.EVENT_READ | selectors.EVENT_WRITE
        return selectors.EVENT_READ

    def receive(self) -> str | None:
        """None while the answer is not whole; then what is wrong with it, or nothing. Raises `ConnectionError`."""
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("closed by the server")
        self._received += part
        head, found, body = bytes(self._received).partition(b"\r\n\r\n")
        if not found or not _whole(head, body):
            return None
        return self._fault(head, body)

    def _fault(self, head: bytes, body: bytes) -> str:
        status = head.split(b" ", 2)[1].decode()
        if status != "200":
            return f"HTTP {status}"
        found = self._pattern.search(body)
        if found is None:
            return "no class in the answer"
        named, wanted = _number(found[1]), self._asked.classes[self._current]
        return "" if named == wanted else f"class {named}, not {wanted}"


def _number(found: bytes) -> int:
    """In digits, or as a binary tensor has it."""
    return int(found) if found.isdigit() else int.from_bytes(found, "little")


def _whole(head: bytes, body: bytes) -> bool:
    if _CHUNKED.search(head):
        return body.endswith(b"0\r\n\r\n")
    length = _LENGTH.search(head)
    return length is not None and len(body) >= int(length[1])


def run(asked: Asked, contents: list[bytes]) -> Told:
    """The whole turn. Raises `OSError` when nobody listens, `TimeoutError` when nobody answers."""
    with selectors.DefaultSelector() as selector:
        try:
            for number in range(asked.clients):
                client = Client(asked, contents, number)
                selector.register(client.socket, client.ask(), client)
            return _loop(asked, selector)
        finally:
            for key in tuple(selector.get_map().values()):
                key.data.socket.close()


def _loop(asked: Asked, selector: selectors.BaseSelector) -> Told:
    """Until all have the answer to what they asked in time: no turn leaves work behind for the next one."""
    told = Told(asked.seconds)
    counted_from_s = time.perf_counter() + asked.warm_up_s
    until_s, now_s, cpu_s = counted_from_s + asked.seconds, 0.0, 0.0
    while selector.get_map():
        ready = selector.select(TIMEOUT_S)
        if not ready:
            raise TimeoutError(f"no answer within {TIMEOUT_S:g} s")
        for key, events in ready:
            fault = _serve(selector, key.data, events)
            now_s = time.perf_counter()
            if now_s < counted_from_s:
                cpu_s = time.process_time()
            elif fault is not None and now_s < until_s:
                _note(told, key.data, fault, now_s, counted_from_s)
            if fault is not None and now_s < until_s:
                selector.modify(key.data.socket, key.data.ask(), key.data)
            elif fault is not None:
                selector.unregister(key.data.socket)
                key.data.socket.close()
    told.cpu_s = time.process_time() - cpu_s
    return told


def _serve(selector: selectors.BaseSelector, client: Client, events: int) -> str | None:
    """None while its answer is not whole."""
    if events & selectors.EVENT_WRITE:
        selector.modify(client.socket, client.send(), client)
    if not events & selectors.EVENT_READ:
        return None
    try:
        return client.receive()
    except ConnectionError as error:
        selector.unregister(client.socket)
        client.connect()
        selector.register(client.socket, selectors.EVENT_READ, client)
        return f"lost: {error}"


def _note(told: Told, client: Client, fault: str, now_s: float, counted_from_s: float) -> None:
    if fault:
        told.errors[fault] = told.errors.get(fault, 0) + 1
    else:
        told.latencies_ms.append(round((now_s - client.sent_s) * 1e3, 3))
        told.answered_s.append(round(now_s - counted_from_s, 4))


def main() -> None:
    """Print what came of it as JSON."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes as long to import as all else here
        asked = Asked(**json.load(file))
    contents = []
    for path in asked.requests:
        with open(path, "rb") as request:  # noqa: PTH123
            contents.append(request.read())
    gc.disable()
    sys.stdout.write(json.dumps(asdict(run(asked, contents))) + "\n")


if __name__ == "__main__":
    main()
