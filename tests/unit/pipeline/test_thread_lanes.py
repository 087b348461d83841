"""Lanes on real threads: a result is told where it was made, and a run can be ended while it goes on."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from service.core.values import Source, Variant
from service.pipeline.executor import Executor, Runner
from service.pipeline.lanes import Execute, LaneRun, ThreadLane
from service.pipeline.session import Session, SessionOptions
from service.pipeline.stop import Stop, Terminated
from tests.builders import variant
from tests.fixtures import CLASSES, jpeg, preprocessing, tiny_graph

B0 = variant("b0")
ANSWER = LaneRun(np.zeros(2, np.float32), 0.0, 0.0, 0.0)
PATIENCE_S = 60


@asynccontextmanager
async def lane(execute: Execute) -> AsyncIterator[ThreadLane]:
    """One lane, whose thread is gone afterwards."""
    made = ThreadLane(0, execute)
    yield made
    await asyncio.to_thread(made.close)


def started(on: ThreadLane, body: bytes = b"", name: Variant = B0) -> "asyncio.Future[LaneRun | BaseException]":
    """Begin a run; its result comes."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[LaneRun | BaseException] = loop.create_future()

    def done(run: LaneRun | BaseException) -> None:
        loop.call_soon_threadsafe(result.set_result, run)

    on.start(body, name, done)
    return result


def until_asked(begun: threading.Event) -> Execute:
    """Runs that go on until they are asked to end, and say when they have begun."""

    def execute(_: Source, __: Variant, stop: Stop) -> LaneRun:
        asked = threading.Event()
        stop.heard_by(asked.set)
        begun.set()
        asked.wait(PATIENCE_S)
        stop.check()
        return ANSWER

    return execute


async def test_a_result_is_told_on_the_thread_that_made_it() -> None:
    """Which has a name, and got what it was given."""
    threads: list[str] = []

    def execute(body: Source, name: Variant, _: Stop) -> LaneRun:
        threads.append(threading.current_thread().name)
        assert (body, name) == (b"body", B0)
        return ANSWER

    told = threading.Event()

    def done(_: LaneRun | BaseException) -> None:
        threads.append(threading.current_thread().name)
        told.set()

    async with lane(execute) as subject:
        subject.start(b"body", B0, done)
        assert await asyncio.to_thread(told.wait, PATIENCE_S)
    assert threads == ["lane-0", "lane-0"]


async def test_a_lane_is_started_anew_by_whoever_takes_its_result() -> None:
    """On its own thread, without anybody else."""
    threads: list[threading.Thread] = []
    last = threading.Event()

    def execute(_: Source, __: Variant, ___: Stop) -> LaneRun:
        threads.append(threading.current_thread())
        return ANSWER

    async with lane(execute) as subject:

        def again(_: LaneRun | BaseException) -> None:
            subject.start(b"", B0, lambda _: last.set())

        subject.start(b"", B0, again)
        assert await asyncio.to_thread(last.wait, PATIENCE_S)
    assert len(threads) == 2
    assert len(set(threads)) == 1


async def test_whatever_a_run_raises_is_its_result() -> None:
    """And the lane lives on."""
    errors: list[BaseException] = [ValueError("odd"), KeyboardInterrupt()]

    def execute(_: Source, __: Variant, ___: Stop) -> LaneRun:
        if errors:
            raise errors.pop()
        return ANSWER

    async with lane(execute) as subject:
        results = [await started(subject) for _ in range(3)]
    assert [type(result) for result in results] == [KeyboardInterrupt, ValueError, LaneRun]


async def test_a_run_is_ended_while_it_goes_on() -> None:
    """It would not have ended by itself."""
    begun = threading.Event()
    async with lane(until_asked(begun)) as subject:
        result = started(subject)
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        subject.terminate()
        assert isinstance(await result, Terminated)


async def test_a_run_that_has_not_begun_is_ended_too() -> None:
    """Its thread has not looked yet."""
    async with lane(until_asked(threading.Event())) as subject:
        result = started(subject)
        subject.terminate()
        assert isinstance(await result, Terminated)


async def test_asking_an_idle_lane_does_not_end_the_next_run() -> None:
    """Neither before the first run nor between two."""

    def execute(_: Source, __: Variant, stop: Stop) -> LaneRun:
        stop.check()
        return ANSWER

    async with lane(execute) as subject:
        for _ in range(2):
            subject.terminate()
            assert await started(subject) is ANSWER


# Real sessions.

SIZES_PX: Mapping[str, int] = {"b0": 32, "b1": 128, "b4": 320}
PHOTOS = [jpeg(seed=seed) for seed in range(3)]
RUNS = 60


@pytest.fixture(name="execute")
def _execute(tmp_path: Path) -> Executor:
    runners = {name: _runner(tmp_path / name, size) for name, size in SIZES_PX.items()}
    return Executor(lambda wanted: runners[wanted.name], lambda: 0.0)


def _runner(path: Path, size: int) -> Runner:
    path.write_bytes(tiny_graph(size).content)
    session = Session(path, input_size_px=size, classes=CLASSES, options=SessionOptions())
    return Runner(session, preprocessing(size))


@pytest.mark.parametrize("seed", [1, 2])
async def test_runs_that_are_ended_under_load_leave_every_other_answer_as_it_was(execute: Executor, seed: int) -> None:
    """Two lanes share the sessions. Half of the runs are ended, each at a random moment; whatever finishes is what a
    lone run gives, bit for bit."""
    alone = {(body, name): execute(body, variant(name)).logits for body in PHOTOS for name in SIZES_PX}

    async def work(subject: ThreadLane, draw: random.Random) -> list[bool]:
        """Whether each run finished."""
        finished = []
        for _ in range(RUNS):
            body, name = draw.choice(PHOTOS), draw.choice(list(SIZES_PX))
            ends, result = draw.random() < 0.5, started(subject, body, variant(name))
            if ends:
                await asyncio.sleep(draw.choice([0.0, 0.0, 0.001, 0.003, 0.01]))
                subject.terminate()
            run = await result
            finished.append(isinstance(run, LaneRun))
            assert isinstance(run, LaneRun) or (ends and isinstance(run, Terminated))
            assert not isinstance(run, LaneRun) or np.array_equal(run.logits, alone[body, name])
        return finished

    async with lane(execute) as one, lane(execute) as other:
        outcomes = await asyncio.gather(work(one, random.Random(seed)), work(other, random.Random(seed + 100)))
    assert all(True in finished and False in finished for finished in outcomes)
