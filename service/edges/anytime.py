"""Several answers to one question, each as soon as it is there: the same on both protocols.

The work runs in a task of its own, so that a client who reads slowly holds up nobody but himself.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

M = TypeVar("M")
Work = Callable[[Callable[[M], None]], Coroutine[Any, Any, M]]
"""Hands what comes early to its argument, and returns the last."""


async def as_they_come(work: Work[M]) -> AsyncGenerator[M, None]:
    """What `work` hands over, then what it returns. Raises what it raises; closing ends it."""
    ready: asyncio.Queue[M | None] = asyncio.Queue()
    working = asyncio.create_task(work(ready.put_nowait))
    working.add_done_callback(lambda _: ready.put_nowait(None))
    try:
        while (early := await ready.get()) is not None:
            yield early
        yield await working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
