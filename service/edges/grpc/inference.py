"""`inference.GRPCInferenceService`: the Open Inference Protocol over gRPC. Converts, and decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from service.core.errors import EffserveError, ErrorKind
from service.core.messages import Answer
from service.core.trace import Tracer, untraced
from service.dataplane import Dataplane
from service.edges.grpc import controls, tensors
from service.edges.grpc.calls import (
    PROTOCOL,
    Caller,
    Context,
    aborting,
    all_metadata,
    identified,
    read,
    shutting_down,
    telling,
    traced,
)
from service.edges.grpc.stream import WINDOW_PER_LANE, Stream
from service.edges.oip.describe import Document
from service.edges.oip.inference import Call
from service.edges.oip.refusals import too_large
from service.edges.oip.service import OpenInference
from service.edges.questions import BUDGET_HEADER, budget_of_deadline
from service.wire import grpc_inference_pb2 as pb
from service.wire import grpc_inference_pb2_grpc

Received = pb.ModelInferRequest | DecodeError
M = TypeVar("M", bound=Message)


class Inference(grpc_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Method names and arguments are those of the .proto file, where they are described."""

    def __init__(
        self,
        service: OpenInference,
        dataplane: Dataplane,
        *,
        request_bytes: int,
        clock: Callable[[], float],
        stopping: asyncio.Event,
        tracer: Tracer = untraced,
    ) -> None:
        self._request_bytes = request_bytes
        self._tracer = tracer
        self._service = service
        self._dataplane = dataplane
        self._clock = clock
        self._stopping = stopping

    async def ServerLive(self, _: object, __: Context) -> pb.ServerLiveResponse:
        """Whoever answers lives."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: object, __: Context) -> pb.ServerReadyResponse:
        """Readiness."""
        return pb.ServerReadyResponse(ready=self._service.ready)

    async def ModelReady(self, request: pb.ModelReadyRequest | DecodeError, context: Context) -> pb.ModelReadyResponse:
        """Readiness of one model."""

        def ready() -> dict[str, bool]:
            asked = read(request)
            try:
                return {"ready": self._service.model_ready(asked.name, asked.version)}
            except EffserveError as error:
                if error.kind not in (ErrorKind.UNKNOWN_VARIANT, ErrorKind.NOT_RESIDENT, ErrorKind.MEMORY_LIMIT):
                    raise
                return {"ready": False}

        return await self._told(context, ready, pb.ModelReadyResponse())

    async def ServerMetadata(self, _: object, context: Context) -> pb.ServerMetadataResponse:
        """Name, version, extensions."""
        return await self._told(context, self._service.server, pb.ServerMetadataResponse())

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest | DecodeError, context: Context
    ) -> pb.ModelMetadataResponse:
        """What a model takes and gives."""
        return await self._told(
            context,
            lambda: self._service.metadata(read(request).name, read(request).version),
            pb.ModelMetadataResponse(),
        )

    async def ModelConfig(
        self, request: pb.ModelConfigRequest | DecodeError, context: Context
    ) -> pb.ModelConfigResponse:
        """How a model is set up."""
        return await self._told(
            context,
            lambda: {"config": self._service.config(read(request).name, read(request).version)},
            pb.ModelConfigResponse(),
        )

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest | DecodeError, context: Context
    ) -> pb.ModelStatisticsResponse:
        """What models have done."""
        return await self._told(
            context,
            lambda: self._service.statistics(read(request).name, read(request).version),
            pb.ModelStatisticsResponse(),
        )

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest | DecodeError, context: Context
    ) -> pb.RepositoryIndexResponse:
        """The store."""

        async def index() -> Document:
            return await self._service.index(only_ready=read(request).ready)

        return await self._done(context, index, pb.RepositoryIndexResponse())

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest | DecodeError, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """One variant more, or another version of it."""

        async def load() -> Document:
            changes, asked = self._service.changes(), read(request)
            await changes.load(asked.model_name, tensors.change_parameters(asked.parameters))
            return {}

        return await self._done(context, load, pb.RepositoryModelLoadResponse())

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest | DecodeError, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """One less."""

        async def unload() -> Document:
            changes, asked = self._service.changes(), read(request)
            await changes.unload(asked.model_name, tensors.change_parameters(asked.parameters))
            return {}

        return await self._done(context, unload, pb.RepositoryModelUnloadResponse())

    async def LogSettings(
        self, request: pb.LogSettingsRequest | DecodeError, context: Context
    ) -> pb.LogSettingsResponse:
        """Which log lines are written, from now on."""
        return await self._told(
            context,
            lambda: controls.log_told(self._service.log_settings(controls.log_given(read(request)))),
            pb.LogSettingsResponse(),
        )

    async def TraceSetting(
        self, request: pb.TraceSettingRequest | DecodeError, context: Context
    ) -> pb.TraceSettingResponse:
        """Which requests are traced, from now on."""
        return await self._told(
            context,
            lambda: controls.trace_told(
                self._service.trace_settings(controls.trace_given(read(request)), read(request).model_name)
            ),
            pb.TraceSettingResponse(),
        )

    async def ModelInfer(self, request: Received, context: Context) -> pb.ModelInferResponse:
        """The images of one request."""
        started_s, caller = self._clock(), identified(context, _id_in(request), self._tracer)
        budget, left_ms = all_metadata(context, BUDGET_HEADER.lower()), budget_of_deadline(context.time_remaining())
        async with aborting(context, caller):
            with telling(self._dataplane, caller, started_s):
                if self._stopping.is_set():
                    raise shutting_down()
            call = Call(PROTOCOL, caller.request_id, started_s, budget, left_ms, caller.trace)
            response, answers = await self._answer(request, call)
            variants = ",".join(answer.decision.variant.name for answer in answers)
            told = (("x-request-id", caller.request_id), ("x-model-variant", variants))
            context.set_trailing_metadata(told + caller.trace_metadata)
            return response

    async def ModelStreamInfer(self, _: AsyncIterator[Received], context: Context) -> None:
        """Many requests."""
        caller = identified(context)
        context.set_trailing_metadata((("x-request-id", caller.request_id),))

        async def answer_one(request: Received, number: int) -> pb.ModelStreamInferResponse:
            given = _id_in(request)
            name = identified(context, given).request_id if given else f"{caller.request_id}-{number}"
            return await self._outcome(request, Caller(name, traced(context, self._tracer)))

        window = WINDOW_PER_LANE * self._dataplane.health().statistics.lanes
        async with aborting(context, caller):
            stream = Stream(context, answer_one, window=window, stopping=self._stopping, in_order=True)
            if not await stream.serve():
                raise shutting_down()

    async def _outcome(self, request: Received, caller: Caller) -> pb.ModelStreamInferResponse:
        """Response or error. The stream's deadline is not that of a request, so it buys no budget."""
        try:
            call = Call(PROTOCOL, caller.request_id, self._clock(), trace=caller.trace)
            response, _ = await self._answer(request, call)
        except EffserveError as error:
            told = pb.ModelInferResponse(id=_id_in(request))
            return pb.ModelStreamInferResponse(error_message=f"{error.kind}: {error.detail}", infer_response=told)
        return pb.ModelStreamInferResponse(infer_response=response)

    async def _answer(self, received: Received, call: Call) -> tuple[pb.ModelInferResponse, list[Answer]]:
        """Raises `EffserveError`, which the observer then knows of."""
        with self._service.inference.holding():
            return await self._answer_held(received, call)

    async def _answer_held(self, received: Received, call: Call) -> tuple[pb.ModelInferResponse, list[Answer]]:
        inference = self._service.inference
        caller = Caller(call.request_id, call.trace)
        with telling(self._dataplane, caller, call.started_s):
            sent = read(received)
            if sent.ByteSize() > self._request_bytes:
                raise too_large(self._request_bytes)
            request = tensors.infer_request(sent)
            model, asked = inference.ask(request, call)
        with telling(self._dataplane, caller, call.started_s, asked):
            prepared = await inference.prepare(request, model, asked)
        response, answers = await inference.run(prepared, call)
        with telling(self._dataplane, caller, call.started_s, asked):
            message = tensors.infer_response(response)
            inference.handed_over(prepared, call, answers)
        return message, list(answers)

    async def _told(self, context: Context, document: Callable[[], Document], message: M) -> M:
        """The message with the document's content."""

        async def told() -> Document:
            return document()

        return await self._done(context, told, message)

    async def _done(self, context: Context, work: Callable[[], Awaitable[Document]], message: M) -> M:
        """The same for what takes its time."""
        started_s, caller = self._clock(), identified(context)
        async with aborting(context, caller):
            with telling(self._dataplane, caller, started_s):
                return ParseDict(await work(), message)


def _id_in(received: Received) -> str:
    return "" if isinstance(received, DecodeError) else received.id
