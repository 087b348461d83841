"""Opening a variant beside others, and what its runs are taken to cost."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from service.core.latency import VariantCost
from service.pipeline.executor import Runner
from service.pipeline.opening import LEAST_TURNS, MOST_TURNS, Known, Opener, beside
from service.pipeline.session import Session, SessionError, SessionOptions, runtime_fingerprint
from service.pipeline.store import StoredVariant, scan
from tests.fixtures import CLASSES, preprocessing, tiny_store
from tests.unit.pipeline.test_store import edit_manifest


class Ticking:
    """A clock that runs only while somebody works: as long as the session says that its next run takes."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now_s

    def runner(self, times_s: Iterator[float]) -> Runner:
        """Whose runs take so long, one after the other."""
        return Runner(cast(Session, _Timed(self, times_s)), preprocessing(32))


class _Timed:
    def __init__(self, clock: Ticking, times_s: Iterator[float]) -> None:
        self._clock, self._times_s = clock, times_s

    def run(self, pixels: npt.NDArray[np.uint8]) -> None:
        """See `Session.run`."""
        assert pixels.shape == (1, 32, 32, 3)
        self._clock.now_s += next(self._times_s)


def test_a_variant_costs_in_proportion_to_one_that_is_known() -> None:
    """By the smallest of the times of each, whatever the machine does just now."""
    clock = Ticking()
    known = Known(clock.runner(iter((0.8, 0.2, 0.5))), VariantCost(0.1, 0.05, 0.01))
    found = beside(clock.runner(iter((0.4, 0.9, 0.6))), known, clock)
    assert [found.inference_s, found.alone_s] == pytest.approx([0.2, 0.1])
    assert found.terminate_s is None


@pytest.mark.parametrize(("run_s", "turns"), [(1.0, LEAST_TURNS), (0.0001, MOST_TURNS)])
def test_short_runs_are_repeated_more_often(run_s: float, turns: int) -> None:
    """A single one says little; long ones take time from others."""
    clock, taken = Ticking(), list[float]()

    def times_s() -> Iterator[float]:
        while True:
            taken.append(run_s)
            yield run_s

    beside(clock.runner(times_s()), Known(clock.runner(times_s()), VariantCost(1.0)), clock)
    assert len(taken) == 2 * turns


@pytest.fixture(name="entries")
def _entries(tmp_path: Path) -> list[StoredVariant]:
    return list(scan(tiny_store(tmp_path / "store")).entries)


@pytest.fixture(name="known")
def _known(entries: list[StoredVariant]) -> Known:
    session = Session(entries[0].graph, input_size_px=32, classes=CLASSES, options=SessionOptions())
    return Known(Runner(session, entries[0].manifest.preprocessing), VariantCost(0.001))


def test_an_opened_variant_runs_and_has_a_cost(entries: list[StoredVariant], known: Known) -> None:
    """The second time, the one that was measured the first time."""
    opener = Opener(SessionOptions(), 2, None)
    first, second = opener.open(entries[1], known), opener.open(entries[1], known)
    assert first.runner.session.run(np.zeros((1, 128, 128, 3), np.uint8)).shape == (1, CLASSES)
    assert first.cost.inference_s > known.cost.inference_s
    assert second.cost is first.cost


def test_what_calibration_has_found_is_taken_as_it_is(
    entries: list[StoredVariant], known: Known, tmp_path: Path, calibrated: Callable[[str, str], None]
) -> None:
    """By the checksum of the graph, for the same layout."""
    calibrated(runtime_fingerprint(SessionOptions(), 2), entries[1].manifest.graph_sha256)
    found = Opener(SessionOptions(), 2, tmp_path / "kept").open(entries[1], known)
    assert found.cost == VariantCost(0.123, 0.045, 0.004)
    other = Opener(SessionOptions(), 3, tmp_path / "kept").open(entries[1], known)
    assert other.cost != found.cost


@pytest.fixture(name="calibrated")
def _calibrated(tmp_path: Path) -> Callable[[str, str], None]:
    from service.pipeline.calibration import CalibrationFile, _Measured

    def keep(fingerprint: str, graph_sha256: str) -> None:
        measured = _Measured(base_s=0.123, ratios=(1.0,), stop_s=0.002, alone_s=0.045)
        CalibrationFile(tmp_path / "kept", fingerprint).keep({graph_sha256: measured}, {})

    return keep


def test_a_network_that_is_not_what_its_manifest_says_is_refused(entries: list[StoredVariant], known: Known) -> None:
    """Nothing has changed then."""
    edit_manifest(entries[1].folder, preprocessing=preprocessing(48).model_dump())
    (changed,) = (entry for entry in scan(entries[1].folder.parents[1]).entries if entry.manifest.name == "b1")
    with pytest.raises(SessionError, match="not uint8"):
        Opener(SessionOptions(), 2, None).open(changed, known)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have their own priority on Linux alone")
@pytest.mark.parametrize(("threads", "idle"), [(1, True), (2, False)])
def test_opening_takes_nothing_from_others(threads: int, idle: bool) -> None:
    """Where the runtime starts threads of its own, they must not inherit that."""
    opener = Opener(SessionOptions(threads=threads, nice=3), 1, None)

    def prepared() -> bool:
        opener.prepare()
        own = threading.get_native_id()
        return os.sched_getscheduler(0) == os.SCHED_IDLE or os.getpriority(os.PRIO_PROCESS, own) == 19

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(prepared).result() is idle
