"""What inference is compared to: ONNX Runtime alone in a process of its own, no service around it.

`python -m benchmarks.raw STORE PHOTO` opens every graph, then reads lines `<variant> <runs>` and answers each with the
times of that many runs, in milliseconds, as one JSON list. The session options are the service's, written out here so
that the comparison does not go through its code; pixels come from the same decoder, once, outside the time taken.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import onnxruntime

from benchmarks.machine import ROOT
from benchmarks.server import variants
from service.pipeline import image
from service.pipeline.store import StoredVariant


class Raw:
    """The other end of the pipe."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def times_ms(self, variant: str, runs: int) -> list[float]:
        """Of `runs` runs, one after the other."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(f"{variant} {runs}\n")
        self._process.stdin.flush()
        return [float(one) for one in json.loads(self._process.stdout.readline())]


@contextmanager
def running(store: Path, photo: Path) -> Iterator[Raw]:
    """The process, ended when its input ends."""
    command = [sys.executable, "-m", "benchmarks.raw", str(store), str(photo)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Raw(process)


def _session(entry: StoredVariant, photo: bytes) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(entry.graph, options, providers=["CPUExecutionProvider"])
    pixels = image.decode(photo, entry.manifest.preprocessing)[None]
    return partial(session.run, None, {session.get_inputs()[0].name: pixels})


def _timed_ms(run: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    run()
    return (time.perf_counter() - started_s) * 1e3


def _work(store: Path, photo: bytes) -> None:
    runs = {entry.manifest.name: _session(entry, photo) for entry in variants(store)}
    for run in runs.values():
        run()
    for line in sys.stdin:
        name, count = line.split()
        sys.stdout.write(json.dumps([_timed_ms(runs[name]) for _ in range(int(count))]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _work(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes())
