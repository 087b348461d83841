"""One call with many images: a reader, and a task for each image up to a window.

The reader takes a place in the window before it reads, so a full window leaves messages in gRPC's flow control and
slows the client down. Answers are written as they get ready, or in the order of the images; an image keeps its place
until its answer is written, so a client that does not read its answers is slowed down too. The tasks live in a group
that ends with the call: when the client goes away, gRPC cancels the call, and with it every image in hand.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc

from service.edges.grpc.lifetime import unless_stopping

WINDOW_PER_LANE = 2
"""Images of one stream in hand, per lane: one that runs and one that waits, so that no lane idles between them."""

Context = grpc.aio.ServicerContext[Any, Any]
AnswerOne = Callable[[Any, int], Awaitable[Any]]
"""The outcome of one image, given its message and its number in the stream from 1. Raises nothing but
`asyncio.CancelledError`."""


class Stream:
    """Lives as long as its call."""

    def __init__(
        self, context: Context, answer_one: AnswerOne, *, window: int, stopping: asyncio.Event, in_order: bool = False
    ) -> None:
        self._context = context
        self._answer_one = answer_one
        self._places = asyncio.Semaphore(window)
        self._stopping = stopping
        self._writing = asyncio.Lock()
        self._in_order = in_order
        self._read = 0

    def __repr__(self) -> str:
        return f"<Stream read={self._read} full={self._places.locked()}>"

    async def serve(self) -> bool:
        """Answer all images. False when the service stopped before the client had sent its last one."""
        before = asyncio.Event()
        before.set()
        async with asyncio.TaskGroup() as images:
            while True:
                await self._places.acquire()
                read = await unless_stopping(self._stopping, self._context.read())
                if read is None or read[0] is grpc.aio.EOF:
                    return read is not None
                self._read += 1
                written = asyncio.Event()
                images.create_task(self._image(read[0], self._read, before, written))
                before = written

    async def _image(self, request: object, number: int, before: asyncio.Event, written: asyncio.Event) -> None:
        response = await self._answer_one(request, number)
        if self._in_order:
            await before.wait()
        # Writing fails when the call is over; its cancellation is then under way and ends the whole group.
        with suppress(grpc.aio.BaseError):
            async with self._writing:
                await self._context.write(response)
        written.set()
        self._places.release()
