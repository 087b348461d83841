"""Work that ends when the service stops.

A server waits for its open calls before it closes. Calls that stay open for as long as the client likes (streams,
health watches, reflection) would hold it up to the end of its patience, so they are raced against the stop.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless_stopping(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> tuple[T] | None:
    """The work's result in a tuple, or None when the service stops first; the work is cancelled then."""
    working = asyncio.create_task(work)
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
        return (working.result(),) if working.done() else None
    finally:
        working.cancel()
        stop.cancel()
