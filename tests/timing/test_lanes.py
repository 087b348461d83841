"""The asyncio shell in virtual time: same scheduler, same waits as the simulator; cancellation; failures."""

import asyncio
import random

import numpy as np
import pytest

from service.core.errors import EffserveError, ErrorKind
from service.core.simulator import Arrival, simulate
from service.core.values import Decision, Job, Mode, Variant
from service.pipeline.lanes import Done, LaneRun, Lanes
from tests.builders import TIMES_S, job, scheduler

pytestmark = pytest.mark.looptime


class TimedLane:
    """A lane whose runs take exactly the time their variant is expected to, in the loop's time."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.started: list[str] = []
        self._error = error

    def start(self, body: bytes, variant: Variant, done: Done) -> None:
        """Answer after the variant's time."""
        loop = asyncio.get_running_loop()
        self.started.append(variant.name)
        run = LaneRun(np.zeros(2, np.float32), loop.time(), 0.0, TIMES_S[variant.name])
        loop.call_later(TIMES_S[variant.name], done, self._error or run)

    def close(self) -> None:
        """Nothing to end."""


def _shell(lanes: int, error: BaseException | None = None) -> Lanes:
    loop = asyncio.get_running_loop()
    return Lanes(scheduler(lanes), [TimedLane(error) for _ in range(lanes)], loop.time)


def _trace(seed: int, requests: int = 200) -> list[Arrival]:
    """Poisson arrivals at 30/s with budgets of 50 to 400 ms."""
    draw, at_s, arrivals = random.Random(seed), 0.0, []
    for number in range(requests):
        at_s += draw.expovariate(30.0)
        arrivals.append(Arrival(at_s, job(number, draw.choice([0.05, 0.1, 0.2, 0.4]), at_s=at_s)))
    return arrivals


async def _replay(shell: Lanes, arrivals: list[Arrival]) -> dict[int, tuple[str, float]]:
    loop = asyncio.get_running_loop()
    origin_s = loop.time()
    seen: dict[int, tuple[str, float]] = {}

    async def one(arrival: Arrival) -> None:
        await asyncio.sleep(origin_s + arrival.at_s - loop.time())
        served = await shell.run(arrival.job, b"")
        seen[arrival.job.id] = (served.decision.variant.name, loop.time() - origin_s)

    await asyncio.gather(*(one(arrival) for arrival in arrivals))
    return seen


@pytest.mark.parametrize("lanes", [1, 2, 3])
async def test_shell_and_simulator_agree_on_every_request(lanes: int) -> None:
    """Same trace, same scheduler: the same variant for each request, finished at the same moment."""

    def exactly(_: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, TIMES_S[decision.variant.name]

    arrivals = _trace(seed=lanes)
    outcomes = simulate(scheduler(lanes), arrivals, exactly)
    expected = {o.job.id: (o.decision.variant.name, o.finished_s) for o in outcomes if o.decision}
    seen = await _replay(_shell(lanes), arrivals)
    assert {n: name for n, (name, _) in seen.items()} == {n: name for n, (name, _) in expected.items()}
    # The virtual clock ticks in microseconds.
    assert [seen[n][1] for n in expected] == pytest.approx([end_s for _, end_s in expected.values()], abs=1e-4)


async def test_a_cancelled_request_leaves_the_queue() -> None:
    """Its client went away while it waited; its turn never comes."""
    shell = _shell(1)
    first = asyncio.create_task(shell.run(job(1, 5.0), b""))
    second = asyncio.create_task(shell.run(job(2, 5.0), b""))
    await asyncio.sleep(0.001)
    second.cancel()
    await first
    assert shell._scheduler.statistics(0.0).cancelled == 1
    assert shell._scheduler.statistics(0.0).finished == 1


async def test_a_request_cancelled_while_it_runs_frees_its_lane_at_the_end() -> None:
    """The run goes on, its result is dropped, the next request is served."""
    shell = _shell(1)
    first = asyncio.create_task(shell.run(job(1, 0.05), b""))
    await asyncio.sleep(0.001)
    first.cancel()
    served = await shell.run(job(2, 5.0, at_s=asyncio.get_running_loop().time()), b"")
    assert served.run.started_s >= TIMES_S["b2"]


async def test_a_failing_image_fails_its_own_request_only() -> None:
    """The error reaches the caller, the lane is free again."""
    error = EffserveError(ErrorKind.UNDECODABLE_IMAGE, "cut short")
    shell = _shell(1, error)
    for number in (1, 2):
        with pytest.raises(EffserveError, match="cut short"):
            await shell.run(job(number, 1.0, at_s=asyncio.get_running_loop().time()), b"")


async def test_a_rejected_request_raises_its_error() -> None:
    """Strict and hopeless."""
    with pytest.raises(EffserveError) as caught:
        await _shell(1).run(job(1, 0.001, mode=Mode.STRICT), b"")
    assert caught.value.kind is ErrorKind.INFEASIBLE_BUDGET


async def test_a_fault_in_the_bookkeeping_does_not_lose_a_result(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The request whose run is done is answered; the fault is logged by the loop."""
    shell = _shell(1)

    def broken(*_: object) -> None:
        raise RuntimeError("broken bookkeeping")

    monkeypatch.setattr(shell._scheduler, "finish", broken)
    assert (await shell.run(job(1, 1.0), b"")).run.inference_s > 0
    assert "broken bookkeeping" in caplog.text


async def test_nothing_is_left_behind_after_any_outcome() -> None:
    """Answered, rejected and cancelled requests all leave the shell's books empty."""
    shell = _shell(1)
    tasks = [asyncio.create_task(shell.run(job(n, b), b"")) for n, b in ((1, 1.0), (2, 2.0), (3, 3.0))]
    await asyncio.sleep(0.001)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert shell._pending == {}
