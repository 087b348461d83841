"""The methods of `effserve.v1.Classifier`. Each converts a message, asks the dataplane, and converts the answer.

Every failure is told to the observer once: `Dataplane.classify` tells its own, this edge tells those it finds itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing, suppress

import grpc
from google.protobuf.message import DecodeError

from service.core.errors import EffserveError, ErrorKind
from service.core.messages import ClassifyRequest
from service.core.trace import Tracer, untraced
from service.core.values import Question
from service.dataplane import Dataplane
from service.edges.anytime import as_they_come
from service.edges.grpc import convert
from service.edges.grpc.calls import (
    PROTOCOL,
    Caller,
    Context,
    aborting,
    identified,
    read,
    shutting_down,
    telling,
    traced,
)
from service.edges.grpc.stream import WINDOW_PER_LANE, Stream
from service.edges.questions import ClassifyParameters, Defaults, PlanParameters, checked, insured, question
from service.edges.request_ids import request_id
from service.repository import Repository, allowed
from service.wire import classifier_pb2 as pb
from service.wire import classifier_pb2_grpc

Received = pb.ClassifyRequest | DecodeError
"""A message, or why it is none: see `Readable`."""


class Classifier(classifier_pb2_grpc.ClassifierServicer):
    """Method names and arguments are those of the .proto file, where they are described."""

    def __init__(
        self,
        dataplane: Dataplane,
        *,
        clock: Callable[[], float],
        defaults: Defaults,
        image_bytes: int,
        stopping: asyncio.Event,
        tracer: Tracer = untraced,
        repository: Repository | None = None,
    ) -> None:
        self._tracer = tracer
        self._dataplane = dataplane
        self._clock = clock
        self._defaults = defaults
        self._image_bytes = image_bytes
        self._stopping = stopping
        self._repository = repository

    async def Classify(self, request: Received, context: Context) -> pb.ClassifyResponse:
        """One image."""
        started_s, caller = self._clock(), identified(context, _id_in(request), self._tracer)
        async with aborting(context, caller):
            with self._telling(caller, started_s):
                self._refuse_when_stopping()
            response = await self._answer(request, caller, started_s, context.time_remaining())
            context.set_trailing_metadata(convert.answer_metadata(response) + caller.trace_metadata)
            return response

    async def ClassifyAnytime(self, request: Received, context: Context) -> None:
        """One image, several answers."""
        started_s, caller = self._clock(), identified(context, _id_in(request), self._tracer)
        time_left_s = context.time_remaining()

        async def work(put: Callable[[pb.ClassifyResponse], None]) -> pb.ClassifyResponse:
            return await self._answer(request, caller, started_s, time_left_s, put)

        async with aborting(context, caller):
            with self._telling(caller, started_s):
                self._refuse_when_stopping()
            # Writing fails when the call is over; its cancellation is then under way.
            with suppress(grpc.aio.BaseError):
                async with aclosing(as_they_come(work)) as responses:
                    async for response in responses:
                        context.set_trailing_metadata(convert.answer_metadata(response) + caller.trace_metadata)
                        await context.write(response)

    async def ClassifyStream(self, _: AsyncIterator[Received], context: Context) -> None:
        """Many images."""
        caller = identified(context)
        context.set_trailing_metadata((("x-request-id", caller.request_id),))

        async def answer_one(request: Received, number: int) -> pb.ClassifyStreamResponse:
            given = _id_in(request)
            name = request_id(given) if given else f"{caller.request_id}-{number}"
            return await self._outcome(request, Caller(name, traced(context, self._tracer)))

        window = WINDOW_PER_LANE * self._dataplane.health().statistics.lanes
        async with aborting(context, caller):
            if not await Stream(context, answer_one, window=window, stopping=self._stopping).serve():
                raise EffserveError(ErrorKind.DRAINING, "the service is shutting down; send the rest elsewhere")

    async def Plan(self, request: pb.PlanRequest | DecodeError, context: Context) -> pb.PlanResponse:
        """A dry run."""
        started_s, caller = self._clock(), identified(context)
        async with aborting(context, caller):
            with self._telling(caller, started_s):
                asked = checked(PlanParameters, convert.plan_parameters(read(request), context.time_remaining()))
                wanted = question(asked, started_s, self._defaults)
                return convert.plan_response(self._dataplane.plan(wanted), wanted.mode)

    async def ListVariants(
        self, request: pb.ListVariantsRequest | DecodeError, context: Context
    ) -> pb.ListVariantsResponse:
        """The table."""
        started_s, caller = self._clock(), identified(context)
        async with aborting(context, caller):
            with self._telling(caller, started_s):
                read(request)
                return convert.variants_response(self._dataplane.variants(), self._dataplane.refused())

    async def Reload(self, request: pb.ReloadRequest | DecodeError, context: Context) -> pb.ReloadResponse:
        """What is served is made equal to the store."""
        started_s, caller = self._clock(), identified(context)
        async with aborting(context, caller):
            with self._telling(caller, started_s):
                read(request)
                return convert.reload_response(await allowed(self._repository).reload())

    async def _outcome(self, request: Received, caller: Caller) -> pb.ClassifyStreamResponse:
        """Answer or error. The stream's deadline is not that of an image, so it buys no budget."""
        try:
            answer = await self._answer(request, caller, self._clock(), time_left_s=None)
        except EffserveError as error:
            return pb.ClassifyStreamResponse(request_id=caller.request_id, error=convert.error_message(error))
        return pb.ClassifyStreamResponse(request_id=caller.request_id, answer=answer)

    async def _answer(
        self,
        request: Received,
        caller: Caller,
        started_s: float,
        time_left_s: float | None,
        put: Callable[[pb.ClassifyResponse], None] | None = None,
    ) -> pb.ClassifyResponse:
        """The last answer; `put` gets those before it. Raises `EffserveError`, which the observer then knows of."""
        with self._telling(caller, started_s):
            message = read(request)
            asked = checked(ClassifyParameters, convert.classify_parameters(message, time_left_s))
            wanted = question(asked if put is None else insured(asked), started_s, self._defaults)

        with self._telling(caller, started_s, wanted):
            body = self._within_limit(message.image)
        asking = ClassifyRequest(body, wanted, caller.request_id, PROTOCOL, asked.top_k, caller.trace)
        earlier = None if put is None else lambda answer: put(convert.classify_response(answer))
        answer = await self._dataplane.classify(asking, earlier)
        with self._telling(caller, started_s, wanted):
            response = convert.classify_response(answer)
            self._dataplane.handed_over(asking, answer)
            return response

    def _refuse_when_stopping(self) -> None:
        if self._stopping.is_set():
            raise shutting_down()

    def _within_limit(self, image: bytes) -> bytes:
        if len(image) <= self._image_bytes:
            return image
        detail = f"the image has {len(image)} bytes; the limit is {self._image_bytes} bytes"
        raise EffserveError(ErrorKind.IMAGE_TOO_LARGE, detail, {"limit_bytes": self._image_bytes})

    def _telling(self, caller: Caller, started_s: float, asked: Question | None = None) -> AbstractContextManager[None]:
        return telling(self._dataplane, caller, started_s, asked)


def _id_in(received: Received) -> str:
    return "" if isinstance(received, DecodeError) else received.request_id
