"""FastAPI and ONNX Runtime, without a model server.

With one worker, images are classified on a pool of as many threads as there are cores, in one process; with more, each
process classifies one image at a time on its event loop, which then has nothing else to do.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from benchmarks.peers.apps.work import Given, Work

GIVEN = Given.read()
work = Work(GIVEN)
app = FastAPI()
pool = ThreadPoolExecutor(max((os.cpu_count() or 1) // GIVEN.threads, 1))


@app.post("/classify")
async def classify(request: Request) -> dict[str, Any]:
    """The image is the body."""
    body = await request.body()
    if GIVEN.workers > 1:
        return work(body)
    return await asyncio.get_running_loop().run_in_executor(pool, work, body)


if __name__ == "__main__":
    uvicorn.run(f"{__spec__.name}:app", host="127.0.0.1", port=GIVEN.port, workers=GIVEN.workers, access_log=False)
