"""PyTriton: Triton Inference Server in front of Python functions, one for each instance."""

import os
import sysconfig
from typing import Any

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.apps.work import Given, Work

GIVEN = Given.read()


class Instance:
    """Called with a list of requests."""

    def __init__(self) -> None:
        self.work = Work(GIVEN)

    def __call__(self, requests: list[Any]) -> list[dict[str, Any]]:
        """Each has one image."""
        return [self._answer(request.data["image"].item()) for request in requests]

    def _answer(self, body: bytes) -> dict[str, Any]:
        found = self.work(body)["predictions"]
        return {
            "index": np.array([one["index"] for one in found], np.int64),
            "probability": np.array([one["probability"] for one in found], np.float64),
        }


if __name__ == "__main__":
    # Triton starts interpreters of its own from the shared library, which has to be the one of this interpreter: the
    # system's may be another release than the standard library is.
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(
        filter(None, [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")])
    )
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=GIVEN.port,
        allow_grpc=False,
        metrics_port=int(os.environ["PEER_SECOND_PORT"]),
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="b0",
            infer_func=[Instance() for _ in range(GIVEN.workers)],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="index", dtype=np.int64, shape=(5,)),
                Tensor(name="probability", dtype=np.float64, shape=(5,)),
            ],
            config=ModelConfig(batching=False),
        )
        triton.serve()
