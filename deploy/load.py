"""Load for a demonstration: questions of every kind over both protocols, at a rate that swells and ebbs, until stopped.

`python load.py --http http://localhost:8000 --grpc grpc://localhost:9000`. Open loop: a question goes out when it is
its turn, whether or not earlier ones were answered. It needs nothing but the package, so the image can run it. Figures
come from `benchmarks/`; this only keeps a server busy.
"""

import argparse
import asyncio
import math
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from service.client import NEVER, AsyncClient, ClientError
from service.pipeline.image import encode_sample

BUDGETS_MS = (15, 20, 35, 50, 75, 100, 150, 200, 400, 500, 1000)
POLICIES = ("k1", "k1", "p2", "p3")
SIZES_PX = ((320, 240), (640, 480), (1600, 1200))
STRICT_SHARE = 0.2
BROKEN_SHARE = 0.01
"""Not images, so that errors are to be seen, too."""
MOST_OPEN = 512
"""Questions without an answer yet. A server that says nothing must not fill this process's memory."""
REPORT_S = 10.0


@dataclass(frozen=True, slots=True)
class Tide:
    """Questions a second in the mean, and seconds from one high tide to the next: from a fifth to nine fifths of it."""

    rate_per_s: float
    swing_s: float

    def at(self, passed_s: float) -> float:
        """Questions a second after so many seconds; it starts in the middle and rises."""
        return self.rate_per_s * (1 + 0.8 * math.sin(2 * math.pi * passed_s / self.swing_s))


class Load:
    """Asks the clients in turn and counts what became of it."""

    def __init__(self, clients: Sequence[AsyncClient], seed: int) -> None:
        self._clients = clients
        self._draw = random.Random(seed)
        self._pictures = [encode_sample(kind, *size) for kind in ("JPEG", "PNG") for size in SIZES_PX]
        self._open: set[asyncio.Task[None]] = set()
        self.ended: Counter[str] = Counter()
        """Questions by how they ended: `answered`, the kind of error, or `not asked` when too many are open."""

    async def run(self, tide: Tide, seconds: float) -> None:
        """Ask for so long, then wait for what is open."""
        loop = asyncio.get_running_loop()
        started_s = turn_s = loop.time()
        while turn_s < started_s + seconds:
            turn_s += self._draw.expovariate(tide.at(turn_s - started_s))
            await asyncio.sleep(turn_s - loop.time())
            self._ask()
        await asyncio.gather(*self._open)

    def _ask(self) -> None:
        if len(self._open) >= MOST_OPEN:
            self.ended["not asked"] += 1
            return
        task = asyncio.create_task(self._one(self._draw.choice(self._clients)))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _one(self, client: AsyncClient) -> None:
        draw = self._draw
        picture = b"no image" if draw.random() < BROKEN_SHARE else draw.choice(self._pictures)
        mode = "strict" if draw.random() < STRICT_SHARE else "best_effort"
        try:
            await client.classify(
                picture, budget_ms=draw.choice(BUDGETS_MS), mode=mode, policy=draw.choice(POLICIES), top_k=1
            )
        except ClientError as error:
            self.ended[error.kind] += 1
        else:
            self.ended["answered"] += 1


async def _report(load: Load) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        _tell(load)


def _tell(load: Load) -> None:
    said = ", ".join(f"{count} {how}" for how, count in load.ended.most_common())
    sys.stdout.write(f"{said or 'nothing yet'}\n")
    sys.stdout.flush()


async def run(asked: argparse.Namespace) -> None:
    """Ask as the options say, and tell now and then what came of it."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncClient(url, retries=NEVER)) for url in (asked.http, asked.grpc) if url
        ]
        load = Load(clients, asked.seed)
        reports = asyncio.create_task(_report(load))
        await load.run(Tide(asked.rate, asked.swing), asked.seconds)
        reports.cancel()
        _tell(load)


def main(arguments: list[str] | None = None) -> None:
    """Read what is wanted, and ask."""
    parser = argparse.ArgumentParser(description="Keep an effserve busy.")
    parser.add_argument("--http", help="for example http://localhost:8000")
    parser.add_argument("--grpc", help="for example grpc://localhost:9000")
    parser.add_argument("--rate", type=float, default=20.0, help="questions a second in the mean")
    parser.add_argument("--swing", type=float, default=120.0, help="seconds from one high tide to the next")
    parser.add_argument("--seconds", type=float, default=math.inf, help="how long; default: until stopped")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    asked = parser.parse_args(arguments)
    if not (asked.http or asked.grpc):
        parser.error("name a server with --http, --grpc, or both")
    if min(asked.rate, asked.swing, asked.seconds) <= 0:
        parser.error("--rate, --swing and --seconds are more than 0")
    asyncio.run(run(asked))


if __name__ == "__main__":
    main()
