"""Figure 1: what the service adds to decoding and inference of one B0 request, over HTTP and gRPC.

From the server's own timing (total − decode − inference), because a client's clock would add the client. The total
ends when the answer is ready; building JSON or the message and sending it come after, and are in what the client saw.
"""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import Client, GrpcClient, HttpClient, Reply
from benchmarks.report import Table, ms
from benchmarks.server import Server, serving
from benchmarks.stats import Spread

VARIANT = "b0"
WARM_UP = 20
"""Requests on each connection that are not counted."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """Of one protocol, in milliseconds."""

    protocol: str
    overhead: Spread
    receive: Spread
    queue: Spread
    respond: Spread
    decode: Spread
    inference: Spread
    total: Spread
    client_total: Spread
    client_overhead: Spread
    """What the client saw, less decode and inference."""


def measure(store: Path, photos: list[bytes], *, requests: int, calibrate_s: float) -> list[Overhead]:
    """One client, one request at a time, the protocols in turn on the same photo."""
    with serving(store, calibrate_s=calibrate_s) as server, ExitStack() as stack:
        clients = _clients(server, stack)
        _rounds(clients, photos, WARM_UP)
        replies = _rounds(clients, photos, requests)
    return [_figures(protocol, answered) for protocol, answered in replies.items()]


def _clients(server: Server, stack: ExitStack) -> list[Client]:
    return [stack.enter_context(closing(HttpClient(server))), stack.enter_context(closing(GrpcClient(server)))]


def _rounds(clients: list[Client], photos: list[bytes], rounds: int) -> dict[str, list[Reply]]:
    replies: dict[str, list[Reply]] = {client.name: [] for client in clients}
    for number in range(rounds):
        photo = photos[number % len(photos)]
        for client in clients if number % 2 == 0 else reversed(clients):
            replies[client.name].append(client.classify(photo, {"variant": VARIANT}))
    return replies


def _figures(protocol: str, replies: list[Reply]) -> Overhead:
    return Overhead(
        protocol=protocol,
        overhead=Spread.of([reply.overhead_ms for reply in replies]),
        receive=Spread.of([reply.receive_ms for reply in replies]),
        queue=Spread.of([reply.queue_ms for reply in replies]),
        respond=Spread.of([reply.respond_ms for reply in replies]),
        decode=Spread.of([reply.decode_ms for reply in replies]),
        inference=Spread.of([reply.inference_ms for reply in replies]),
        total=Spread.of([reply.total_ms for reply in replies]),
        client_total=Spread.of([reply.client_ms for reply in replies]),
        client_overhead=Spread.of([reply.client_overhead_ms for reply in replies]),
    )


def table(figures: list[Overhead]) -> Table:
    """One row for each protocol."""
    headings = (
        "", "runs", "overhead p50", "p95", "receive", "queue", "respond", "decode", "inference", "total",
        "client total", "client overhead p50", "p95",
    )  # fmt: skip
    return Table(f"Overhead of the service, {VARIANT}, one client (ms)", headings, [_row(one) for one in figures], NOTE)


NOTE = (
    "overhead = total − decode − inference, by the server's clock; client overhead = what the client saw − decode − "
    "inference. Columns without a percentile are medians."
)


def _row(one: Overhead) -> list[str]:
    stages = (one.receive, one.queue, one.respond, one.decode, one.inference, one.total, one.client_total)
    return [
        one.protocol, str(one.overhead.runs), ms(one.overhead.median), ms(one.overhead.p95),
        *(ms(stage.median) for stage in stages), ms(one.client_overhead.median), ms(one.client_overhead.p95),
    ]  # fmt: skip
