"""The gRPC server's life: bind, start, tell whether it serves, stop. Runs on the event loop it was made in.

Four services share the port: the classifier, the Open Inference Protocol, `grpc.health.v1.Health` for probes, and, if
wanted, reflection for tools such as grpcurl.
"""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from service.core.trace import Tracer, untraced
from service.dataplane import Dataplane
from service.edges.grpc.classifier import Classifier
from service.edges.grpc.inference import Inference
from service.edges.grpc.lifetime import unless_stopping
from service.edges.grpc.readable import Readable
from service.edges.oip.service import OpenInference
from service.edges.questions import Defaults
from service.repository import Repository
from service.wire import classifier_pb2, classifier_pb2_grpc, grpc_inference_pb2, grpc_inference_pb2_grpc

CLASSIFIER = classifier_pb2.DESCRIPTOR.services_by_name["Classifier"].full_name
INFERENCE = grpc_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
ENVELOPE_BYTES = 64 * 1024
"""Room in a message for everything but the image. An image over its limit by less is refused by name; a message over
the limit and this is refused by the gRPC library, which names only the status."""

REFUSING_S = 0.5
"""How long a stopping server answers UNAVAILABLE before it closes its connections."""

Context = grpc.aio.ServicerContext[Any, Any]


class GrpcServer:
    """One server on one port. Make it on the running loop that it shall use."""

    def __init__(
        self,
        dataplane: Dataplane,
        *,
        clock: Callable[[], float],
        defaults: Defaults,
        image_bytes: int,
        request_bytes: int,
        reflection: bool,
        open_inference: OpenInference,
        tracer: Tracer = untraced,
        repository: Repository | None = None,
        shares_port: bool = False,
    ) -> None:
        """Without a `repository`, what is served stays. `shares_port`: other workers of this service listen there, too,
        and the system hands each connection to one of them."""
        self._stopping = asyncio.Event()
        self._health = _Health(self._stopping)
        self._shares_port = shares_port
        # Without port sharing a second server on the same port is an error rather than a thief of requests.
        self._server = grpc.aio.server(
            interceptors=[Readable(CLASSIFIER, INFERENCE)],
            options=[
                ("grpc.max_receive_message_length", max(image_bytes, request_bytes) + ENVELOPE_BYTES),
                ("grpc.so_reuseport", int(shares_port)),
            ],
        )
        stopping = self._stopping
        classifier = Classifier(
            dataplane,
            clock=clock,
            defaults=defaults,
            image_bytes=image_bytes,
            stopping=stopping,
            tracer=tracer,
            repository=repository,
        )
        inference = Inference(
            open_inference, dataplane, request_bytes=request_bytes, clock=clock, stopping=stopping, tracer=tracer
        )
        self._add_services(classifier, inference, with_reflection=reflection)

    def bind(self, host: str, port: int) -> int:
        """Take the port and return it; 0 lets the system choose. Raises `OSError` when it cannot be had."""
        address = _address(host, port)
        if not self._shares_port:
            check_free(host, port)
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(errno.EADDRNOTAVAIL, f"cannot listen on {address}") from error

    async def start(self) -> None:
        """Accept calls. Probes hear NOT_SERVING until `set_serving` says otherwise."""
        await self.set_serving(False)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What `grpc.health.v1` says of the server as a whole and of its two services."""
        status = health_pb2.HealthCheckResponse
        for service in ("", CLASSIFIER, INFERENCE):
            await self._health.set(service, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, timeout_s: float) -> None:
        """Accept nothing new, finish what is in hand, cut what takes longer than `timeout_s`.

        When the library's server stops, calls that have arrived and not been taken up yet end as CANCELLED, which no
        client tries again. So calls are first refused for a while with UNAVAILABLE, which sends clients elsewhere.
        """
        await self.set_serving(False)
        self._stopping.set()
        await asyncio.sleep(min(REFUSING_S, timeout_s / 2))
        await self._server.stop(timeout_s)

    def _add_services(self, classifier: Classifier, inference: Inference, *, with_reflection: bool) -> None:
        classifier_pb2_grpc.add_ClassifierServicer_to_server(classifier, self._server)  # type: ignore[no-untyped-call]
        grpc_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(  # type: ignore[no-untyped-call]
            inference, self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if with_reflection:
            names = (CLASSIFIER, INFERENCE, HEALTH, reflection.SERVICE_NAME)
            servicer = _Reflection(self._stopping, names)
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, self._server)


class _Health(health.HealthServicer):  # type: ignore[misc]
    """The library's servicer; watches end when the service stops."""

    def __init__(self, stopping: asyncio.Event) -> None:
        super().__init__()
        self._stopping = stopping

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        await _until_stop(self._stopping, super().Watch(request, context), context)


class _Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """The library's servicer; its calls end when the service stops."""

    def __init__(self, stopping: asyncio.Event, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self._stopping = stopping

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context
    ) -> None:
        async def answer_all() -> None:
            async for response in super(_Reflection, self).ServerReflectionInfo(requests, context):
                await context.write(response)

        await _until_stop(self._stopping, answer_all(), context)


async def _until_stop(stopping: asyncio.Event, work: Coroutine[Any, Any, None], context: Context) -> None:
    if await unless_stopping(stopping, work) is None:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is shutting down")


def check_free(host: str, port: int) -> None:
    """gRPC does not say why it cannot listen, and is content with some of a name's addresses: ask the system first.

    Raises `OSError`.
    """
    for family, kind, protocol, _, target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(target)
        except OSError as error:
            # Others, such as a machine without IPv6, concern one address of several.
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                detail = f"cannot listen on {_address(host, port)}: {os.strerror(error.errno)}"
                raise OSError(error.errno, detail) from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
