"""KServe's Python server: a model of our own behind its first protocol, whose body may be anything but JSON.

A model is pickled when there are several workers, so its session is opened by each of them.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import kserve

from benchmarks.peers.apps.work import Given, Work

GIVEN = Given.read()


class Classifier(kserve.Model):
    """One in each worker."""

    def load(self) -> bool:
        """The session comes later."""
        self.ready = True
        return True

    @cached_property
    def work(self) -> Work:
        """Opened by the first request."""
        return Work(GIVEN)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """For a single process."""
        return ThreadPoolExecutor(os.cpu_count())

    async def predict(self, payload: bytes, headers: object = None, response_headers: object = None) -> dict[str, Any]:
        """The image is the body."""
        if GIVEN.workers > 1:
            return self.work(payload)
        return await asyncio.get_running_loop().run_in_executor(self.pool, self.work, payload)


if __name__ == "__main__":
    model = Classifier("b0")
    model.load()
    server = kserve.ModelServer(
        http_port=GIVEN.port, workers=GIVEN.workers, enable_grpc=False, enable_latency_logging=False
    )
    server.start([model])
