"""MLServer: a runtime of our own, as its documentation has it, behind the Open Inference Protocol.

With more than one worker it has a pool of processes; with one there is none, and images go to threads.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import Base64Codec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.peers.apps.work import Given, Work

GIVEN = Given.read()


class Classifier(MLModel):
    """One in each worker."""

    async def load(self) -> bool:
        """Once a worker."""
        self.work = Work(GIVEN)
        self.pool = ThreadPoolExecutor(os.cpu_count())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One image in base64, as this protocol has it in JSON."""
        (body,) = Base64Codec.decode_input(payload.inputs[0])
        answer = (
            self.work(body)
            if GIVEN.workers > 1
            else await asyncio.get_running_loop().run_in_executor(self.pool, self.work, body)
        )
        found = answer["predictions"]
        columns = {"index": "INT64", "probability": "FP64"}
        outputs = [
            ResponseOutput(name=name, datatype=kind, shape=[len(found)], data=[one[name] for one in found])
            for name, kind in columns.items()
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def main() -> None:
    """Serve until told to end."""
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=GIVEN.port,
        grpc_port=int(os.environ["PEER_SECOND_PORT"]),
        metrics_port=int(os.environ["PEER_THIRD_PORT"]),
        metrics_dir=os.environ["PEER_FOLDER"],
        parallel_workers=GIVEN.workers if GIVEN.workers > 1 else 0,
        gzip_enabled=False,
    )
    server = MLServer(settings)
    await server.start([ModelSettings(name="b0", implementation=Classifier)])


if __name__ == "__main__":
    asyncio.run(main())
