"""Questions and answers over a socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from service.core.errors import EffserveError, ErrorKind
from service.workers.channel import Channel, ChannelClosed, FaultElsewhere, Handler, give_now, take_now, tell_now


@asynccontextmanager
async def connected(handlers: Mapping[str, Handler]) -> AsyncIterator[tuple[Channel, Channel]]:
    """Two ends, the second of which answers."""
    ends = socket.socketpair()
    asking, answering = Channel({}), Channel(handlers)
    running = []
    for channel, end in zip((asking, answering), ends, strict=True):
        await channel.open(end)
        running.append(asyncio.create_task(channel.run()))
    try:
        yield asking, answering
    finally:
        asking.close()
        await asyncio.gather(*running)


async def doubled(number: int) -> int:
    """What is asked here."""
    return 2 * number


async def test_each_question_gets_its_answer() -> None:
    """Whichever comes first."""
    first = asyncio.Event()

    async def late() -> str:
        await first.wait()
        return "late"

    async with connected({"double": doubled, "late": late}) as (asking, _):
        waiting = asyncio.create_task(asking.ask("late"))
        assert await asking.ask("double", 21) == 42
        first.set()
        assert await waiting == "late"


async def test_a_failure_with_a_name_keeps_it() -> None:
    """Kind, sentence, figures and when to come again."""

    async def refuse() -> None:
        raise EffserveError(ErrorKind.QUEUE_FULL, detail="full", facts={"limit": 3}, retry_after_s=2.0)

    async with connected({"refuse": refuse}) as (asking, _):
        with pytest.raises(EffserveError) as failure:
            await asking.ask("refuse")
    error = failure.value
    assert (error.kind, error.detail, error.facts, error.retry_after_s) == (
        ErrorKind.QUEUE_FULL, "full", {"limit": 3}, 2.0,
    )  # fmt: skip


async def test_what_nobody_foresaw_is_a_fault_with_its_cause() -> None:
    """Where it happened is told as well."""

    async def fail() -> None:
        raise ValueError("broken")

    async with connected({"fail": fail}) as (asking, _):
        with pytest.raises(EffserveError) as failure:
            await asking.ask("fail")
    assert failure.value.kind is ErrorKind.INTERNAL
    assert isinstance(failure.value.__cause__, FaultElsewhere)
    assert "ValueError: broken" in str(failure.value.__cause__)


async def test_who_asks_is_told_when_the_other_is_gone() -> None:
    """While the answer is waited for, and afterwards."""

    async def never() -> None:
        await asyncio.Event().wait()

    async with connected({"never": never}) as (asking, answering):
        waiting = asyncio.create_task(asking.ask("never"))
        await asyncio.sleep(0.01)
        answering.close()
        with pytest.raises(ChannelClosed):
            await waiting
        with pytest.raises(ChannelClosed):
            asking.tell("never")


async def test_a_process_without_an_event_loop_tells() -> None:
    """The first message is taken whole, however it comes."""
    ours, theirs = socket.socketpair()
    heard: list[str] = []

    async def step(what: str) -> None:
        heard.append(what)

    tell_now(theirs, "step", "x" * 100_000)
    theirs.close()
    channel = Channel({"step": step})
    await channel.open(ours)
    await channel.run()
    await asyncio.sleep(0)
    assert heard == ["x" * 100_000]


def test_the_first_message_needs_no_event_loop() -> None:
    """At either end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        give_now(ours, {"number": 1})
        assert take_now(theirs) == {"number": 1}
        ours.close()
        with pytest.raises(EOFError):
            take_now(theirs)
