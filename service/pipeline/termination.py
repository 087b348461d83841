"""How fast does a run stop when it is asked to? Measured, because it depends on the execution provider.

ONNX Runtime looks at the flag between two nodes of the graph. On CPU that is every few milliseconds at most; a provider
that takes the whole graph as one node never looks (onnxruntime, `RunOptions.terminate`).
"""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from statistics import median
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.pipeline.stop import Stop, Terminated

TRIES = 5
ASK_AFTER = 0.3
"""Share of a run after which it is asked."""
IGNORED = 0.25
"""A run that goes on for this share of its usual time after it was asked, and then ends as if nothing had been, did
not listen. One that ended sooner was nearly done and proves nothing."""


class Stoppable(Protocol):
    """A session, as far as this needs one."""

    def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """Logits, or `Terminated`."""


def measure(
    session: Stoppable, pixels: npt.NDArray[np.uint8], *, usual_s: float, pool: Executor, clock: Callable[[], float]
) -> float | None:
    """Median seconds from asking to the end, 0 when every run ended before it could stop; None when runs go on."""
    stopped: list[float] = []
    ignored = 0
    for _ in range(TRIES):
        stop = Stop()
        run = pool.submit(_timed, session, pixels, stop, clock)
        time.sleep(usual_s * ASK_AFTER)
        asked_s = clock()
        stop.ask()
        heeded, ended_s = run.result()
        if heeded:
            stopped.append(max(ended_s - asked_s, 0.0))
        elif ended_s - asked_s > usual_s * IGNORED:
            ignored += 1
    if ignored and ignored >= len(stopped):
        return None
    return median(stopped) if stopped else 0.0


def _timed(
    session: Stoppable, pixels: npt.NDArray[np.uint8], stop: Stop, clock: Callable[[], float]
) -> tuple[bool, float]:
    """Whether the run was stopped, and when it ended."""
    try:
        session.run(pixels, stop)
    except Terminated:
        return True, clock()
    return False, clock()
