"""The head of a response waits for its body, and never longer than its loop takes to come round."""

import asyncio
from typing import Any

import pytest

from service.edges.http.one_write import OneWrite

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Sink:
    """What a transport was told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        """Note it."""
        self.told.append(data)

    def close(self) -> None:
        """Note it."""
        self.told.append("closed")

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return "closed" in self.told

    def get_extra_info(self, name: str) -> str:
        """As a transport does."""
        return f"the {name}"


def _made() -> tuple[Sink, Any]:
    sink = Sink()
    return sink, OneWrite(sink)  # type: ignore[arg-type]


async def test_head_and_body_leave_together() -> None:
    """In one write."""
    sink, subject = _made()
    subject.write(HEAD)
    subject.write(b"ok")
    assert sink.told == [HEAD + b"ok"]
    await asyncio.sleep(0)
    assert sink.told == [HEAD + b"ok"]


async def test_what_follows_leaves_at_once() -> None:
    """A stream's next piece waits for nothing."""
    sink, subject = _made()
    subject.write(HEAD)
    subject.write(b"o")
    subject.write(b"k")
    assert sink.told == [HEAD + b"o", b"k"]


async def test_a_head_without_a_body_leaves_when_the_loop_comes_round() -> None:
    """An answer to HEAD, or a stream whose first piece takes its time."""
    sink, subject = _made()
    subject.write(HEAD)
    assert sink.told == []
    await asyncio.sleep(0)
    assert sink.told == [HEAD]


async def test_a_head_leaves_before_the_connection_is_closed() -> None:
    """Nothing is lost."""
    sink, subject = _made()
    subject.write(HEAD)
    subject.close()
    assert sink.told == [HEAD, "closed"]


async def test_a_head_is_dropped_when_nobody_can_be_told_any_more() -> None:
    """The transport was closed by the other side."""
    sink, subject = _made()
    subject.write(HEAD)
    sink.close()
    await asyncio.sleep(0)
    assert sink.told == ["closed"]


@pytest.mark.parametrize("data", [b"HTTP/1.1 100 Continue", b"data: x\n\n", b""])
async def test_other_bytes_are_not_kept(data: bytes) -> None:
    """Only whole heads are."""
    sink, subject = _made()
    subject.write(data)
    assert sink.told == [data]


async def test_everything_else_is_the_transports() -> None:
    """Whatever a protocol asks of it."""
    assert _made()[1].get_extra_info("peername") == "the peername"
