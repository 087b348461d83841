"""Measuring that is wrapped around the service: a stopwatch for the event loop's thread, and what profiles tell."""

import asyncio
import functools
import importlib
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import instrumented, profile
from benchmarks.instrumented import LAST, STEPS, Stopwatch
from benchmarks.profile import Counts, Sampled
from benchmarks.report import Table

BURN_S = 0.004


def burn() -> None:
    """Take processor time."""
    until_s = time.thread_time() + BURN_S
    while time.thread_time() < until_s:
        pass


class Journey:
    """Waits once between two pieces of work, and has another step within the first."""

    async def outer(self) -> str:
        """Twice as much as `inner`."""
        burn()
        self.inner()
        await asyncio.sleep(0.01)
        burn()
        return "done"

    def inner(self) -> None:
        """Of its own."""
        burn()

    def last(self) -> None:
        """Ends the request."""


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """Its functions are in the watch."""
    steps = [("made_up", f"Journey.{name}", LAST if name == "last" else name) for name in ("outer", "inner", "last")]
    monkeypatch.setattr(instrumented, "STEPS", steps)
    for name in ("outer", "inner", "last"):
        monkeypatch.setattr(Journey, name, getattr(Journey, name))
    monkeypatch.setitem(sys.modules, "made_up", cast("Any", SimpleNamespace(Journey=Journey)))
    watch = Stopwatch()
    instrumented.wrap(watch)
    return watch


async def test_each_step_has_its_own_time_only(watched: Stopwatch) -> None:
    """Also an asynchronous one, from wait to wait, whatever others do meanwhile."""
    path = Journey()
    answers = await asyncio.gather(path.outer(), asyncio.to_thread(burn))
    thread = threading.Thread(target=path.inner)
    thread.start()
    thread.join()
    path.last()
    (request,) = watched.requests
    assert answers[0] == "done"
    assert request["outer"] == pytest.approx(2 * BURN_S * 1e6, rel=0.5)
    assert request["inner"] == pytest.approx(BURN_S * 1e6, rel=0.5)
    assert request["all"] >= request["outer"] + request["inner"]


async def test_a_cancelled_step_is_cancelled(watched: Stopwatch) -> None:
    """What is thrown into it comes out of it."""
    task = asyncio.create_task(Journey().outer())
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert watched.requests == []


def test_every_step_is_there() -> None:
    """By the name under which it is looked up when it is called."""
    for module, name, _ in STEPS:
        assert callable(functools.reduce(getattr, name.split("."), importlib.import_module(module)))
    assert LAST in {shown for _, _, shown in STEPS}


def test_operators_are_those_of_the_turn(tmp_path: Path) -> None:
    """Of each run, the most first; what ran before or after does not count."""

    def node(at_us: int, name: str, dur: int) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_1_kernel_time", "ts": at_us, "dur": dur, "args": {"op_name": name}}

    def run(at_us: int) -> dict[str, object]:
        return {"cat": "Session", "name": "model_run", "ts": at_us, "dur": 100}

    events = [
        node(1, "Conv", 9_999),
        *(e for at in (50, 60) for e in (node(at, "Gemm", 10), node(at, "Conv", 70), run(at))),
    ]
    (tmp_path / "profile.json").write_text(json.dumps([*events, node(99, "Conv", 9_999)]))
    found = profile._operators([(1_000_000, str(tmp_path / "profile.json"))], 1_040_000, 1_090_000)
    assert list(found.items()) == [("model_run", 100.0), ("Conv", 70.0), ("Gemm", 10.0)]


def tables(sampled: Sampled) -> dict[str, Table]:
    """Of a turn of two seconds with 100 answers on two cores."""
    before = Counts(0, {"lanes": 1.0, "idle": 5.0}, 10, 1.0, 2.0)
    after = Counts(2_000_000_000, {"lanes": 4.0, "idle": 6.0}, 110, 1.5, 4.0)
    found = profile._between(before, after, {"model_run": 20_000.0, "Conv": 15_000.0}, lanes=2)
    return {table.title: table for table in profile.tables(found, sampled)}


def test_processor_time_is_held_against_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request's share of all of it, and of the lanes'; the run by operator."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    found = tables(Sampled({}, "it is not there"))
    assert [tuple(row) for row in found["Processor time of a request"].rows] == [
        ("lanes", "30000", "75.0%"), ("idle", "10000", "25.0%"), ("sum", "40000", "100.0%"),
        ("wall clock × cores", "40000", ""),
    ]  # fmt: skip
    assert [row[:2] for row in found["What lanes did"].rows] == [
        ("decoding", "5000"), ("run", "20000"), ("between", "15000"), ("wall clock × lanes", "40000"),
    ]  # fmt: skip
    assert [row[:2] for row in found["A run by operator"].rows] == [
        ("Conv", "15000"), ("the rest, and between them", "5000"), ("run", "20000"),
    ]  # fmt: skip
    assert found["Where Python was"].note == "Skipped: it is not there."


def test_samples_belong_to_the_innermost_function_of_the_service() -> None:
    """By thread; where there is none, to the innermost there is."""
    lane, loop = 'thread (0x1): "lane-0"', 'thread (0x2): "MainThread"'
    found = profile._places(
        [
            f"{lane};_work (service/pipeline/lanes.py:9);run (onnxruntime/capi/session.py:7) 30",
            f"{lane};_work (service/pipeline/lanes.py:12) 5",
            f"{loop};run (uvicorn/server.py:1) 2",
        ]
    )
    assert found == Counter({"lanes: _work (service/pipeline/lanes.py)": 35, "event loop: run (uvicorn/server.py)": 2})
