"""What the Open Inference Protocol costs beside the service's own: `python -m benchmarks.protocols --store DIR`.

The same photo to B0 by four ways in turns, one client, connections kept: `/classify` and `Classify` with the file, and
the protocol over REST with the file as a binary `BYTES` tensor and over gRPC as a raw one, both with the probabilities
in binary back, which is what Triton's clients send and get. Overhead is total − decode − inference by the server's own
clock; the client's is what it saw, less the same.
"""

import json
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from benchmarks import machine, photos, report
from benchmarks.clients import HOST, TIMEOUT_S, GrpcClient, HttpClient, number
from benchmarks.report import Table, ms, say
from benchmarks.server import Server, plain_store, serving
from benchmarks.stats import Spread
from service.wire import grpc_inference_pb2 as pb

VARIANT = "b0"
BUDGET_MS = 1_000
WARM_UP = 20
JSON_LENGTH = "Inference-Header-Content-Length"
Cost = tuple[float, float]
"""Overhead by the server's clock and by the client's, in milliseconds."""
Ask = Callable[[bytes], Cost]


@dataclass(frozen=True, slots=True)
class Way:
    """Figures of one way, in milliseconds."""

    way: str
    overhead: Spread
    client_overhead: Spread


def measure(store: Path, images: Sequence[bytes], *, requests: int, calibrate_s: float) -> list[Way]:
    """Each way asks each photo before the next one is taken, in an order that turns with every round: none waits so
    long that a kernel would take its memory."""
    with serving(store, calibrate_s=calibrate_s) as server, ExitStack() as stack:
        ways = _ways(server, stack)
        costs: dict[str, list[Cost]] = {name: [] for name in ways}
        names = list(ways)
        for round_number in range(WARM_UP + requests):
            turn = round_number % len(names)
            for name in names[turn:] + names[:turn]:
                cost = ways[name](images[round_number % len(images)])
                if round_number >= WARM_UP:
                    costs[name].append(cost)
    return [Way(name, *(Spread.of(column) for column in zip(*found, strict=True))) for name, found in costs.items()]


def _ways(server: Server, stack: ExitStack) -> dict[str, Ask]:
    http = stack.enter_context(closing(HttpClient(server)))
    own_grpc = stack.enter_context(closing(GrpcClient(server)))
    channel = stack.enter_context(grpc.insecure_channel(f"{HOST}:{server.grpc_port}"))
    infer: Any = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )

    def own(client: HttpClient | GrpcClient) -> Ask:
        def ask(image: bytes) -> Cost:
            reply = client.classify(image, {"variant": VARIANT, "budget_ms": BUDGET_MS})
            return reply.overhead_ms, reply.client_overhead_ms

        return ask

    return {
        "http /classify": own(http),
        "http OIP, binary": lambda image: _over_rest(http, image),
        "grpc Classify": own(own_grpc),
        "grpc OIP, raw BYTES": lambda image: _over_grpc(infer, image),
    }


def _over_rest(client: HttpClient, image: bytes) -> Cost:
    tensor = _element(image)
    given = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(tensor)}}
    wanted = {"name": "probabilities", "parameters": {"binary_data": True}}
    asked = {"parameters": {"budget_ms": BUDGET_MS}, "inputs": [given], "outputs": [wanted]}
    started_s = time.perf_counter()
    head = json.dumps(asked).encode()
    answer_head, answer = client.exchange(
        "POST", f"/v2/models/{VARIANT}/infer", head + tensor, f"{JSON_LENGTH}: {len(head)}"
    )
    client_ms = (time.perf_counter() - started_s) * 1e3
    told = json.loads(answer[: number(answer_head, JSON_LENGTH.lower().encode())])["parameters"]
    return _cost({name: told[name] for name in ("total_ms", "decode_ms", "inference_ms")}, client_ms)


def _over_grpc(infer: Any, image: bytes) -> Cost:  # noqa: ANN401 - a method of a channel
    started_s = time.perf_counter()
    asked = pb.ModelInferRequest(
        model_name=VARIANT,
        parameters={"budget_ms": pb.InferParameter(int64_param=BUDGET_MS)},
        inputs=[pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[1, 1])],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")],
        raw_input_contents=[_element(image)],
    )
    answer: pb.ModelInferResponse = infer(asked, timeout=TIMEOUT_S)
    client_ms = (time.perf_counter() - started_s) * 1e3
    return _cost({name: one.double_param for name, one in answer.parameters.items()}, client_ms)


def _element(image: bytes) -> bytes:
    """A BYTES tensor of one element, in binary."""
    return struct.pack("<I", len(image)) + image


def _cost(told: dict[str, float], client_ms: float) -> Cost:
    work_ms = told["decode_ms"] + told["inference_ms"]
    return told["total_ms"] - work_ms, client_ms - work_ms


def table(ways: Sequence[Way]) -> Table:
    """One row for each way."""
    rows = [
        [
            one.way, str(one.overhead.runs), ms(one.overhead.median), ms(one.overhead.p95),
            ms(one.client_overhead.median), ms(one.client_overhead.p95),
        ]
        for one in ways
    ]  # fmt: skip
    headings = ("", "runs", "overhead p50", "p95", "client overhead p50", "p95")
    return Table(f"Overhead of each protocol, {VARIANT}, one client (ms)", headings, rows)


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0.")],
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="By each way.")] = 500,
    calibrate_s: Annotated[float, typer.Option(help="For each variant at the start.")] = 0.5,
) -> None:
    """Measure, and print the table."""
    here, others = machine.describe(), list[machine.Others]()
    with plain_store(store, [VARIANT]) as plain, machine.watching("protocols", others):
        ways = measure(plain, photos.read(None), requests=requests, calibrate_s=calibrate_s)
    report.show([report.machine_table(here), report.others_table(others), table(ways)])
    if out is not None:
        report.write(
            out, {"machine": asdict(here), "others": [asdict(o) for o in others], "ways": list(map(asdict, ways))}
        )
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
