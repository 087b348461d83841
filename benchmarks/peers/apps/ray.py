"""Ray Serve: replicas in processes of their own behind a proxy."""

import time
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.apps.work import Given, Work

GIVEN = Given.read()


class Classifier:
    """One in each replica."""

    def __init__(self) -> None:
        self.work = Work(GIVEN)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """The image is the body."""
        return self.work(await request.body())


if __name__ == "__main__":
    ray.init(include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": GIVEN.port}, logging_config={"enable_access_log": False})
    deployed = serve.deployment(num_replicas=GIVEN.workers, max_ongoing_requests=4, ray_actor_options={"num_cpus": 1})
    serve.run(deployed(Classifier).bind(), route_prefix="/classify")
    while True:
        time.sleep(3600)
