"""Open-loop load from a process of its own: `python -m benchmarks.realtime.loader` sends a schedule.

Each request goes out at its scheduled moment, whether or not earlier ones have been answered, and its latency counts
from that moment: a server that stalls is charged for those who would have come meanwhile (no coordinated omission), and
so is it for what the loader itself is late, which is reported as its lag.
"""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from benchmarks.clients import Given, Reply
from benchmarks.machine import ROOT, punctual
from benchmarks.realtime import wires
from benchmarks.realtime.wires import WIRES, Answer, Wire
from benchmarks.server import Server
from service.simulation import traces
from service.simulation.traces import Recorded

LEAD_S = 0.5
"""Between the last preparation and the first request."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one request."""

    at_s: float
    """When it was to be sent, from the first one on."""
    budget_s: float
    lag_s: float
    """How much later it was sent."""
    latency_s: float
    """From when it was to be sent until its answer, or refusal, was there."""
    reply: Reply | None
    """None when there was no answer."""
    failure: str = ""
    """Why: what the server said, or `lost: …` when it said nothing."""

    @property
    def lost(self) -> bool:
        """Whether the server said nothing."""
        return self.failure.startswith(LOST)


LOST = "lost: "


@dataclass(frozen=True, slots=True)
class Load:
    """A whole run, as the loader saw it."""

    cpu_s: float
    """Its own processor time while it sent."""
    sent: tuple[Sent, ...]


_LOAD = TypeAdapter(Load)


def read(path: Path) -> Load:
    """What a loader has written. Raises `ValueError`, `OSError`."""
    return _LOAD.validate_json(path.read_bytes())


def send(
    server: Server, schedule: Path, *, bodies: Path, protocol: str, given: Given, out: Path, timeout_s: float
) -> Load:
    """Run a loader to its end. `bodies`: a folder of images. Raises `subprocess.CalledProcessError`."""
    port = wires.port(server, protocol)
    command = [
        sys.executable, "-m", "benchmarks.realtime.loader", str(port), str(schedule), str(bodies), str(out),
        "--protocol", protocol, *(f"--given={name}={value}" for name, value in given.items()),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=timeout_s)
    return read(out)


async def drive(wire: Wire, schedule: Recorded, bodies: Sequence[bytes], given: Given) -> list[Sent]:
    """Send everything on time and wait for all answers. Bodies are taken in turn."""
    if schedule.budgets_s is None:
        raise ValueError("the schedule has no budgets")
    loop = asyncio.get_running_loop()
    pairs = list(zip(schedule.times_s.tolist(), schedule.budgets_s.tolist(), strict=True))
    origin_s = loop.time() + LEAD_S
    tasks = []
    for number, (at_s, budget_s) in enumerate(pairs):
        if (left_s := origin_s + at_s - loop.time()) > 0:
            await asyncio.sleep(left_s)
        body = bodies[number % len(bodies)]
        tasks.append(loop.create_task(_one(wire, body, {"budget_ms": budget_s * 1e3} | given, origin_s + at_s)))
    times = await asyncio.gather(*tasks)
    return [_sent(pair, time) for pair, time in zip(pairs, times, strict=True)]


async def _one(wire: Wire, body: bytes, given: Given, scheduled_s: float) -> "_Outcome":
    clock = asyncio.get_running_loop().time
    lag_s, answer, lost = clock() - scheduled_s, None, ""
    try:
        answer = await wire.ask(body, given)
    except (ConnectionError, TimeoutError) as error:
        lost = f"{LOST}{error}"
    return lag_s, clock() - scheduled_s, answer, lost


def _sent(asked: tuple[float, float], outcome: "_Outcome") -> Sent:
    lag_s, latency_s, answer, lost = outcome
    said = lost if answer is None else answer(latency_s * 1e3)
    if isinstance(said, str):
        return Sent(*asked, lag_s, latency_s, None, said)
    return Sent(*asked, lag_s, latency_s, said)


_Outcome = tuple[float, float, Answer | None, str]
"""Lag and latency in seconds, the answer, and why there is none."""


async def _run(protocol: str, port: int, schedule: Recorded, bodies: Sequence[bytes], given: Given) -> Load:
    wire = WIRES[protocol](port)
    await wire.open()
    # A collection would make requests late, and what a run leaves behind is needed until its end.
    gc.freeze()
    gc.disable()
    started_s = time.process_time()
    try:
        sent = await drive(wire, schedule, bodies, given)
    finally:
        await wire.close()
    return Load(time.process_time() - started_s, tuple(sent))


def main(
    port: int,
    schedule: Annotated[Path, typer.Argument(help="CSV with arrival_s and budget_ms.")],
    bodies: Annotated[Path, typer.Argument(help="Folder of images.")],
    out: Annotated[Path, typer.Argument(help="JSON to write.")],
    protocol: Annotated[str, typer.Option(help="http or grpc.")] = "http",
    given: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of each request.")] = None,
) -> None:
    """Send a schedule to a server on this machine."""
    images = [path.read_bytes() for path in sorted(bodies.iterdir())]
    asked: Given = {name: value for name, _, value in (pair.partition("=") for pair in given or [])}
    punctual()
    load = asyncio.run(_run(protocol, port, traces.read(schedule), images, asked))
    out.write_bytes(_LOAD.dump_json(load))


if __name__ == "__main__":
    typer.run(main)
