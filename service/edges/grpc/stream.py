"""One call with many images: a reader, and a task for each image up to a window.

The reader takes a place in the window before it reads, so a full window leaves messages in gRPC's flow control and
slows the client down. Answers are written as they get ready; an image keeps its place until its answer is written, so
a client that does not read its answers is slowed down too. The tasks live in a group that ends with the call: when
the client goes away, gRPC cancels the call, and with it every image in hand.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from service.edges.grpc.lifetime import unless_stopping
from service.wire import classifier_pb2 as pb

Received = pb.ClassifyRequest | DecodeError
"""A message, or why it is none: see `Readable`."""
Context = grpc.aio.ServicerContext[Any, pb.ClassifyStreamResponse]
AnswerOne = Callable[[Received, int], Awaitable[pb.ClassifyStreamResponse]]
"""The outcome of one image, given its number in the stream from 1. Raises nothing but `asyncio.CancelledError`."""


class Stream:
    """Lives as long as its call."""

    def __init__(self, context: Context, answer_one: AnswerOne, *, window: int, stopping: asyncio.Event) -> None:
        self._context = context
        self._answer_one = answer_one
        self._places = asyncio.Semaphore(window)
        self._stopping = stopping
        self._writing = asyncio.Lock()
        self._read = 0

    def __repr__(self) -> str:
        return f"<Stream read={self._read} full={self._places.locked()}>"

    async def serve(self) -> bool:
        """Answer all images. False when the service stopped before the client had sent its last one."""
        async with asyncio.TaskGroup() as images:
            while True:
                await self._places.acquire()
                read = await unless_stopping(self._stopping, self._context.read())
                if read is None or read[0] is grpc.aio.EOF:
                    return read is not None
                self._read += 1
                images.create_task(self._image(read[0], self._read))

    async def _image(self, request: Received, number: int) -> None:
        response = await self._answer_one(request, number)
        # Writing fails when the call is over; its cancellation is then under way and ends the whole group.
        with suppress(grpc.aio.BaseError):
            async with self._writing:
                await self._context.write(response)
        self._places.release()
