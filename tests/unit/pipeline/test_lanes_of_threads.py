"""The shell over real threads: lanes close the books while requests come, leave and are refused."""

import asyncio
import random
import threading
import time

import numpy as np
import pytest

from service.core.actions import Action
from service.core.errors import EffserveError
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.values import Job, Mode, PolicyName, Source, Variant
from service.pipeline.lanes import LaneRun, Lanes, Served, ThreadLane
from service.pipeline.stop import Stop
from tests.builders import TIMES_S, job, scheduler

LANES = 2
SCALE = 0.02
"""Runs take so much of what they are expected to."""
REQUESTS = 300


def execute(_: Source, variant: Variant, stop: Stop) -> LaneRun:
    """Take a while, in pieces between which it can be ended."""
    began_s = time.monotonic()
    for _piece in range(4):
        stop.check()
        time.sleep(TIMES_S[variant.name] * SCALE / 4)
    return LaneRun(np.zeros(2, np.float32), began_s, 0.0, time.monotonic() - began_s)


def _shell() -> tuple[Lanes, Scheduler]:
    rule = scheduler(LANES, background_lanes=LANES, stop_s=0.001)
    return Lanes(rule, [ThreadLane(number, execute) for number in range(2 * LANES)], time.monotonic), rule


async def _ask(shell: Lanes, number: int, draw: random.Random) -> str:
    """One request and what became of it; every fifth client leaves early."""
    now_s = time.monotonic()
    spent, mode = draw.choice(list(PolicyName)), draw.choice([Mode.STRICT, Mode.BEST_EFFORT])
    budget_s, patience_s = draw.uniform(0.005, 0.1), draw.choice([0.002, 60.0, 60.0, 60.0, 60.0])
    asking = job(number, budget_s, at_s=now_s, mode=mode, policy=spent)
    try:
        async with asyncio.timeout(patience_s):
            await shell.run(asking, b"")
    except EffserveError:
        return "refused"
    except TimeoutError:
        return "left"
    return "answered"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_request_has_one_end_and_the_books_are_balanced(seed: int) -> None:
    """However threads and loop take turns. Nobody waits for ever: patience is a minute, and nobody loses it."""
    draw, (shell, rule) = random.Random(seed), _shell()
    asked = []
    for number in range(REQUESTS):
        asked.append(asyncio.create_task(_ask(shell, number, draw)))
        await asyncio.sleep(draw.choice([0.0, 0.0, 0.001, 0.004]))
    ends = await asyncio.gather(*asked)
    await asyncio.to_thread(shell.close)
    now = rule.statistics(time.monotonic())
    assert now.submitted == REQUESTS
    assert (now.waiting, now.running, now.busy, now.insured) == (0, 0, 0, 0)
    assert now.finished + now.rejected + now.cancelled == REQUESTS
    assert now.finished >= ends.count("answered") > 0
    assert shell._pending == {}


async def test_a_lane_tells_the_books_on_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request gets its answer on the loop's, which also speaks for background lanes: those may stand for long."""
    shell, rule = _shell()
    threads, finish = [], rule.finish

    def noted(now_s: float, lane: int, run: Observation | None, ended_s: float) -> object:
        threads.append(threading.current_thread().name)
        return finish(now_s, lane, run, ended_s)

    monkeypatch.setattr(rule, "finish", noted)
    answers: list[Served] = []
    answered = threading.current_thread()

    def take(served: Served) -> None:
        assert threading.current_thread() is answered
        answers.append(served)

    await shell.run(job(1, 60.0, at_s=time.monotonic(), policy=PolicyName.P2), b"", take)
    await asyncio.to_thread(shell.close)
    assert threads == ["lane-0", answered.name]
    assert answers


async def test_what_no_future_can_hold_is_a_fault_like_any_other() -> None:
    """The request is told, and the lane lives on."""
    errors: list[BaseException] = [StopIteration("odd")]

    def odd(body: Source, variant: Variant, stop: Stop) -> LaneRun:
        if errors:
            raise errors.pop()
        return execute(body, variant, stop)

    rule = scheduler(1)
    shell = Lanes(rule, [ThreadLane(0, odd)], time.monotonic)
    with pytest.raises(EffserveError) as caught:
        await shell.run(job(1, 60.0, at_s=time.monotonic()), b"")
    assert isinstance(caught.value.__cause__, StopIteration)
    assert (await shell.run(job(2, 60.0, at_s=time.monotonic()), b"")).run.inference_s > 0
    await asyncio.to_thread(shell.close)
    assert rule.statistics(time.monotonic()).busy == 0


async def test_who_could_not_be_taken_in_is_given_no_lane_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request has ended, so there would be nothing to run."""
    go_on = threading.Event()

    def waits(body: Source, variant: Variant, stop: Stop) -> LaneRun:
        assert go_on.wait(60)
        return execute(body, variant, stop)

    rule = scheduler(1)
    shell = Lanes(rule, [ThreadLane(0, waits)], time.monotonic)
    first = asyncio.create_task(shell.run(job(1, 60.0, at_s=time.monotonic()), b""))
    await asyncio.sleep(0)
    submit = rule.submit

    def breaks(now_s: float, asking: Job) -> list[Action]:
        submit(now_s, asking)
        raise RuntimeError("a defect")

    monkeypatch.setattr(rule, "submit", breaks)
    with pytest.raises(RuntimeError, match="a defect"):
        await shell.run(job(2, 60.0, at_s=time.monotonic()), b"")
    assert rule.statistics(time.monotonic()).waiting == 0
    go_on.set()
    assert (await first).run.inference_s > 0
    await asyncio.to_thread(shell.close)
    now = rule.statistics(time.monotonic())
    assert (now.finished, now.cancelled, now.busy) == (1, 1, 0)
