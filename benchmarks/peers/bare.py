"""The work without a service around it: our decoder and our session in a loop, a process for each core. The session is
opened as the service opens it, in the form that is kept, and the process has huge pages where a server would have them.

`python -m benchmarks.peers.bare STORE PHOTOS` reads lines `<warm-up> <seconds>` and answers each with the times of the
runs that it could do, in milliseconds, as one JSON list.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from benchmarks.machine import ROOT
from benchmarks.server import variants
from service import huge_pages
from service.pipeline import image
from service.pipeline.graphs import open_session
from service.pipeline.session import SessionOptions
from service.pipeline.store import StoredVariant

Run = Callable[[bytes], int]
"""An encoded image → its class."""


class Bare:
    """Processes that wait to be told for how long to run."""

    def __init__(self, processes: Sequence["subprocess.Popen[str]"]) -> None:
        self._processes = processes

    def pids(self, many: int) -> list[int]:
        """Of the first of them."""
        return [process.pid for process in self._processes[:many]]

    def times_ms(self, many: int, warm_up_s: float, seconds: float) -> list[float]:
        """Of all runs that as many processes do meanwhile, each for itself."""
        chosen = self._processes[:many]
        for process in chosen:
            _pipe(process.stdin).write(f"{warm_up_s} {seconds}\n")
            _pipe(process.stdin).flush()
        return [time_ms for process in chosen for time_ms in json.loads(_pipe(process.stdout).readline())]


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the process has no pipes")
    return pipe


@contextmanager
def running(store: Path, photos: Path, processes: int) -> Iterator[Bare]:
    """Ready ones, ended when their input ends."""
    command = [sys.executable, "-m", "benchmarks.peers.bare", str(store), str(photos)]
    environment = huge_pages.environment(os.environ)
    with ExitStack() as stack:
        bare = Bare(
            [
                stack.enter_context(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                    )
                )
                for _ in range(processes)
            ]
        )
        bare.times_ms(processes, 0.0, 0.0)
        yield bare


def runner(entry: StoredVariant) -> Run:
    """Decodes and runs as a lane does."""
    preprocessing = entry.manifest.preprocessing
    with tempfile.TemporaryDirectory() as kept:
        session = open_session(entry, SessionOptions(graphs=Path(kept)), lambda _: None)
    return lambda body: int(session.run(image.decode(body, preprocessing)[None])[0].argmax())


def _work(store: Path, photos: Path) -> None:
    (entry,) = variants(store)
    run, bodies = runner(entry), itertools.cycle([path.read_bytes() for path in sorted(photos.iterdir())])
    for line in sys.stdin:
        warm_up_s, seconds = map(float, line.split())
        counted_from_s = time.perf_counter() + warm_up_s
        until_s, times_ms = counted_from_s + seconds, list[float]()
        while (started_s := time.perf_counter()) < until_s:
            run(next(bodies))
            ended_s = time.perf_counter()
            if counted_from_s <= ended_s < until_s:
                times_ms.append(round((ended_s - started_s) * 1e3, 3))
        sys.stdout.write(json.dumps(times_ms) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _work(Path(sys.argv[1]), Path(sys.argv[2]))
