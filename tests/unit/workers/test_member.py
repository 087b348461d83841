"""How a worker ends."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from service.workers.member import Member


class Slow:
    """Everything that a worker stops, of which HTTP takes until it may end."""

    def __init__(self) -> None:
        self.may_end, self.stops = asyncio.Event(), 0
        self.dataplane, self.repository = SimpleNamespace(ready=True, draining=False, cutting=False), self
        self.http = self.grpc = self

    def leave(self) -> None:
        """Nothing is loaded here."""

    async def set_serving(self, serving: bool) -> None:
        """Nobody listens."""

    async def stop(self, timeout_s: float | None = None) -> None:
        """Of either protocol."""
        self.stops += 1
        await self.may_end.wait()

    async def close(self) -> bool:
        """Nothing is left behind."""
        return True

    def in_hand(self) -> int:
        """One request, for as long as it takes."""
        return int(not self.may_end.is_set())


def worker(parts: Slow) -> Member:
    """One that serves."""
    settings = SimpleNamespace(drain=SimpleNamespace(timeout_s=1.0))
    member = Member(cast("Any", settings), cast("Any", None), cast("Any", None))
    member.__dict__.update(_parts=parts, _adopting=parts)
    return member


async def test_all_who_want_it_to_end_wait_for_the_same_end() -> None:
    """The second does not cut what the first has begun to finish."""
    parts = Slow()
    member = worker(parts)
    both = [asyncio.create_task(member.finish()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert (any(task.done() for task in both), await member.in_hand()) == (False, 1)
    parts.may_end.set()
    await asyncio.gather(*both)
    assert (parts.stops, await member.in_hand()) == (3, 0)


async def test_one_that_ends_already_need_not_be_told_that_it_will() -> None:
    """Nor one that has ended."""
    parts = Slow()
    member = worker(parts)
    ending = asyncio.create_task(member.finish())
    await asyncio.sleep(0.01)
    await member.drain()
    parts.may_end.set()
    await ending
    await member.drain()
