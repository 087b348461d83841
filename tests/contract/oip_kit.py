"""Both edges on real sockets over one dataplane with real graphs, and requests of the Open Inference Protocol."""

import base64
import json
import struct
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import numpy.typing as npt

from service.app import compose, repository
from service.core.events import Fanout
from service.core.trace import Tracer, untraced
from service.core.values import Variant
from service.dataplane import Dataplane
from service.edges.grpc import GrpcServer
from service.edges.http.app import Limits, create_http_app
from service.edges.http.server import HttpServer
from service.edges.oip.controls import Controls
from service.edges.oip.statistics import Statistics
from service.edges.questions import Defaults
from service.edges.recent import Recent
from service.pipeline.executor import Runner
from service.preparing import memory, prepare
from service.repository import Repository
from service.residency import Residency
from service.wire import grpc_inference_pb2 as pb
from service.wire import grpc_inference_pb2_grpc
from tests.contract.grpc_kit import DEFAULTS, IMAGE_BYTES, PATIENCE_S, REQUEST_BYTES, STOP_S, Recorder, open_inference
from tests.contract.http_kit import client_of, no_metrics, settings_for

Array = npt.NDArray[Any]
ENOUGH = {"budget_ms": 60_000}
"""For every variant of the store, however busy the machine is."""
LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Kit:
    """What a test needs of both ends."""

    http: httpx.AsyncClient
    channel: grpc.aio.Channel
    dataplane: Dataplane
    repository: Repository
    runners: Mapping[Variant, Runner]
    """What is resident."""
    seen: Recorder
    ports: tuple[int, int]
    """HTTP's and gRPC's."""

    @property
    def stub(self) -> Any:  # noqa: ANN401
        """The client; the generated code has no types."""
        return grpc_inference_pb2_grpc.GRPCInferenceServiceStub(self.channel)  # type: ignore[no-untyped-call]

    async def post(self, document: Mapping[str, Any], model: str = "efficientnet", **headers: str) -> httpx.Response:
        """One inference in JSON."""
        return await self.http.post(f"/v2/models/{model}/infer", json=document, headers=headers)


@asynccontextmanager
async def serving(
    store: Path,
    /,
    defaults: Defaults = DEFAULTS,
    tracer: Tracer = untraced,
    controls: Controls | None = None,
    **overrides: dict[str, object],
) -> AsyncIterator[Kit]:
    """Real sessions and lanes over a store, on both protocols."""
    settings, seen, clock = settings_for(store, **overrides), Recorder(), time.monotonic
    prepared = prepare(settings, seen)
    statistics = Statistics(prepared.loaded.entries)
    residency = Residency(memory(settings), clock)
    told = Fanout(seen, statistics, residency)
    dataplane, lanes = compose(settings, prepared, told, clock)
    changing = repository(settings, prepared, dataplane, told, residency)
    dataplane.ready = True
    service = open_inference(dataplane, statistics, defaults, changing, controls)
    limits = Limits(IMAGE_BYTES, 10 * REQUEST_BYTES, upload_timeout_s=PATIENCE_S, request_bytes=REQUEST_BYTES)
    app = create_http_app(
        dataplane,
        clock=clock,
        defaults=defaults,
        limits=limits,
        scrape=no_metrics,
        open_inference=service,
        recent=Recent(clock),
        tracer=tracer,
        repository=changing,
    )
    http = HttpServer(app, clock=clock, keep_alive_s=PATIENCE_S, timeout_s=10, handshake_s=0.0)
    over_grpc = GrpcServer(
        dataplane,
        clock=clock,
        defaults=defaults,
        image_bytes=IMAGE_BYTES,
        request_bytes=REQUEST_BYTES,
        reflection=True,
        open_inference=service,
        tracer=tracer,
        repository=changing,
    )
    ports = http.bind("127.0.0.1", 0), over_grpc.bind("127.0.0.1", 0)
    await http.start()
    await over_grpc.start()
    async with (
        client_of(ports[0]) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports[1]}") as channel,
    ):
        try:
            yield Kit(client, channel, dataplane, changing, prepared.loaded.runners, seen, ports)
        finally:
            await client.aclose()
            await http.stop()
            await over_grpc.stop(STOP_S)
            await changing.close()
    lanes.close()


def document(
    data: object, datatype: str = "BYTES", shape: Sequence[int] | None = None, **more: object
) -> dict[str, Any]:
    """A request in JSON. `data` of BYTES are the images; parameters buy every variant unless `more` has others."""
    if datatype == "BYTES" and isinstance(data, list):
        data = [base64.b64encode(one).decode() if isinstance(one, bytes) else one for one in data]
    shape = list(shape if shape is not None else [len(data), 1])  # type: ignore[arg-type]
    tensor = {"name": "image", "datatype": datatype, "shape": shape, "data": data}
    return {"parameters": ENOUGH, "inputs": [tensor], **more}


def in_binary(raw: bytes, datatype: str, shape: Sequence[int], **more: object) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request whose tensor follows the JSON."""
    size = {"binary_data_size": len(raw)}
    tensor = {"name": "image", "datatype": datatype, "shape": list(shape), "parameters": size}
    head = json.dumps({"parameters": ENOUGH, "inputs": [tensor], **more}).encode()
    return head + raw, {LENGTH: str(len(head))}


def lengths(elements: Iterable[bytes]) -> bytes:
    """A BYTES tensor in binary form."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def message(
    datatype: str = "BYTES",
    shape: Sequence[int] = (1, 1),
    *,
    model: str = "efficientnet",
    raw: bytes | None = None,
    contents: Mapping[str, object] | None = None,
    parameters: Mapping[str, bool | int | float | str] = ENOUGH,
    **more: object,
) -> pb.ModelInferRequest:
    """A request over gRPC, with its tensor in raw form or as contents."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype=datatype, shape=shape)
    if contents is not None:
        tensor.contents.CopyFrom(pb.InferTensorContents(**contents))  # type: ignore[arg-type]
    return pb.ModelInferRequest(
        model_name=model,
        inputs=[tensor],
        raw_input_contents=[] if raw is None else [raw],
        parameters={name: as_parameter(value) for name, value in parameters.items()},
        **more,  # type: ignore[arg-type]
    )


def as_parameter(value: bool | int | float | str) -> pb.InferParameter:
    """In the field for its type."""
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    return pb.InferParameter(**{kinds[type(value)]: value})  # type: ignore[arg-type]


def scores(response: httpx.Response) -> dict[str, bytes]:
    """FP32 outputs of a response, in JSON or binary, as bytes by name."""
    length = response.raise_for_status().headers.get(LENGTH)
    head = response.content if length is None else response.content[: int(length)]
    tail = b"" if length is None else response.content[int(length) :]
    found = {}
    for output in json.loads(head)["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = np.array(output["data"], np.float32).tobytes()
        else:
            found[output["name"]], tail = tail[:size], tail[size:]
    assert not tail
    return found


def raw_scores(response: pb.ModelInferResponse) -> dict[str, bytes]:
    """The same over gRPC."""
    named = zip(response.outputs, response.raw_output_contents, strict=True)
    return {output.name: content for output, content in named}
