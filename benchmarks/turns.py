"""Different runs in turns: a disturbance of the machine hits all of them, and the least time of each is hardly one."""

import random
import time
from collections.abc import Callable, Mapping

from benchmarks.stats import Spread

WARM_UP = 3


def turns(runs: Mapping[str, Callable[[], object]], *, rounds: int, clock: Callable[[], float] = time.process_time) -> (
    dict[str, Spread]
):  # fmt: skip
    """Milliseconds of each by name, in an order drawn anew for each round. By the process's processor time: what others
    take from it does not count, threads that a provider starts do."""
    order, taken = list(runs), {name: list[float]() for name in runs}
    shuffle = random.Random(0).shuffle
    for turn in range(WARM_UP + rounds):
        shuffle(order)
        for name in order:
            started_s = clock()
            runs[name]()
            if turn >= WARM_UP:
                taken[name].append((clock() - started_s) * 1e3)
    return {name: Spread.of(times) for name, times in taken.items()}
