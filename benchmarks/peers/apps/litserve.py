"""LitServe: API processes and inference workers of one session each, with queues between them.

The image is the raw body: FastAPI hands it over as bytes where it is so annotated, which saves base64 in JSON.
"""

import os
from typing import Annotated, Any

import litserve
from fastapi import Body

from benchmarks.peers.apps.work import Given, Work

GIVEN = Given.read()


class Classifier(litserve.LitAPI):
    """One in each worker."""

    def setup(self, device: str) -> None:
        """Once a worker."""
        self.work = Work(GIVEN)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        """Nothing: the image is decoded with the rest of the work."""
        return request

    def predict(self, x: bytes) -> dict[str, Any]:
        """All of the work."""
        return self.work(x)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """It is JSON already."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Classifier(api_path="/classify"),
        accelerator="cpu",
        workers_per_device=GIVEN.workers,
        fast_queue="PEER_FAST_QUEUE" in os.environ,
    )
    server.run(
        host="127.0.0.1",
        port=GIVEN.port,
        num_api_servers=int(os.environ["PEER_API_SERVERS"]),
        generate_client_file=False,
        access_log=False,
    )
