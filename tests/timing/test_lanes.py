"""The asyncio shell in virtual time: what the simulator says, to the moment; terminations, cancellation, failures."""

import asyncio
import math
import random

import numpy as np
import pytest

from service.core.actions import Action
from service.core.errors import EffserveError, ErrorKind
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.sharing import SharedTime
from service.core.simulator import Arrival, simulate
from service.core.upgrading import HAND_OVER_S
from service.core.values import Decision, Job, Mode, PolicyName, Reason, Source, Variant
from service.pipeline.lanes import Done, LaneRun, Lanes, Logits, Served
from service.pipeline.stop import Terminated
from tests.builders import FAMILY, TIMES_S, job, scheduler, variant

pytestmark = pytest.mark.looptime

STOP_S = 0.002
B0 = FAMILY[0]


def _seconds(variant: Variant, body: bytes) -> float:
    """What a run takes: what is expected, unless a body is there to draw from. One in ten hangs."""
    draw = random.Random(variant.name.encode() + body)
    return round(TIMES_S[variant.name] * (draw.choice((5.0, *[draw.uniform(0.8, 1.3)] * 9)) if body else 1.0), 6)


def _sure(body: bytes) -> float:
    """How sure the cheapest is of an image."""
    return random.Random(b"sure" + body).choice((0.25, 0.5, 0.75))


class TimedLane:
    """A lane whose runs take the time of `_seconds` in the loop's time, and stop within `STOP_S`."""

    def __init__(self, cores: "Cores", error: BaseException | None = None) -> None:
        self._cores = cores
        self._error = error

    def start(self, body: Source, variant: Variant, done: Done) -> None:
        """Answer after the variant's time."""
        loop = asyncio.get_running_loop()
        assert isinstance(body, bytes)
        seconds = _seconds(variant, body)
        self._done = done
        self._cores.take(1)
        result = self._error or LaneRun(np.full(2, _sure(body), np.float32), loop.time(), 0.0, seconds)
        self._end = loop.call_later(seconds, self._ended, result)

    def _ended(self, result: LaneRun | BaseException) -> None:
        self._cores.take(-1)
        self._done(result)

    def terminate(self) -> None:
        """Stop after `STOP_S`, unless the run ends before."""
        loop = asyncio.get_running_loop()
        if loop.time() + STOP_S < self._end.when():
            self._end.cancel()
            self._end = loop.call_later(STOP_S, self._ended, Terminated())

    def close(self) -> None:
        """Nothing to end."""


class BackgroundLane(TimedLane):
    """A lane that gets what the others leave."""

    _expected: asyncio.TimerHandle | None = None

    def start(self, body: Source, variant: Variant, done: Done) -> None:
        """Answer when it has had the variant's time."""
        assert isinstance(body, bytes)
        self._seconds, self._done = _seconds(variant, body), done
        self._run = LaneRun(np.zeros(2, np.float32), asyncio.get_running_loop().time(), 0.0, self._seconds)
        self._cores.share(self)

    def expect(self, at_s: float) -> None:
        """When it will have had it, as things stand."""
        if self._expected is not None:
            self._expected.cancel()
        loop = asyncio.get_running_loop()
        self._expected = loop.call_at(at_s, self._ended, self._run) if at_s < math.inf else None

    @property
    def seconds(self) -> float:
        """What the run takes."""
        return self._seconds

    def _ended(self, result: LaneRun | BaseException) -> None:
        self._cores.leave(self)
        self._done(self._error or result)

    def terminate(self) -> None:
        """Stop after `STOP_S`."""
        self.expect(math.inf)
        self._cores.forget(self)
        asyncio.get_running_loop().call_later(STOP_S, self._ended, Terminated())


class Cores:
    """What a kernel does: background lanes run on what the others leave."""

    def __init__(self, lanes: int) -> None:
        self._shared = SharedTime(lanes)
        self._busy = 0
        self._working: list[BackgroundLane] = []

    def take(self, lanes: int) -> None:
        """So many more are busy."""
        self._busy += lanes
        self._shared.occupy(self._now_s, self._busy)
        self._foresee()

    def share(self, lane: BackgroundLane) -> None:
        """One more takes part."""
        self._shared.begin(self._now_s, id(lane))
        self._working.append(lane)
        self._foresee()

    def leave(self, lane: BackgroundLane) -> None:
        """It is done."""
        self._shared.end(self._now_s, id(lane))
        self.forget(lane)
        self._foresee()

    def forget(self, lane: BackgroundLane) -> None:
        """It takes part, and will not end by itself."""
        self._working = [one for one in self._working if one is not lane]

    def _foresee(self) -> None:
        for lane in self._working:
            lane.expect(self._shared.reaches_s(id(lane), lane.seconds))

    @property
    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def _shell(
    lanes: int,
    error: BaseException | None = None,
    stop_s: float | None = None,
    upgrade_error: Exception | None = None,
    confidences: tuple[float, ...] = (),
    **options: object,
) -> Lanes:
    """As many background lanes as others."""
    cores = Cores(lanes)
    threads = [TimedLane(cores, error) for _ in range(lanes)]
    threads += [BackgroundLane(cores, upgrade_error) for _ in range(lanes)]
    rule = scheduler(lanes, background_lanes=lanes, stop_s=stop_s, confidences=confidences, **options)  # type: ignore[arg-type]
    return Lanes(rule, [*threads], asyncio.get_running_loop().time, _judge)


def _judge(_: Variant, logits: Logits) -> float:
    """A lane writes `_sure` into its logits."""
    return float(logits[0])


def _trace(seed: int, lanes: int, requests: int = 300) -> list[Arrival]:
    """Poisson arrivals at 15/s for each lane with budgets of 40 to 400 ms; some are strict, name a variant, insure."""
    draw, at_s, arrivals = random.Random(seed), 0.0, []
    for number in range(requests):
        # As the virtual clock ticks: who is on the verge in one of the two is so in the other.
        at_s = round(at_s + draw.expovariate(15.0 * lanes), 6)
        mode = draw.choice([Mode.BEST_EFFORT, Mode.BEST_EFFORT, Mode.STRICT])
        asked = draw.choice([None] * 8 + ["b2"])
        spent = draw.choice([PolicyName.K1, PolicyName.K1, PolicyName.P2, PolicyName.P3])
        budget_s = draw.choice([0.04, 0.1, 0.2, 0.4])
        arrivals.append(Arrival(at_s, job(number, budget_s, at_s=at_s, mode=mode, variant=asked, policy=spent)))
    return arrivals


Seen = dict[int, tuple[str, float]]
"""The variant that answered each job, or the error's name, and when."""


async def _replay(shell: Lanes, arrivals: list[Arrival]) -> Seen:
    loop = asyncio.get_running_loop()
    seen: Seen = {}

    async def one(arrival: Arrival) -> None:
        await asyncio.sleep(arrival.at_s - loop.time())
        try:
            served = await shell.run(arrival.job, _body(arrival.job))
            seen[arrival.job.id] = served.decision.variant.name, loop.time()
        except EffserveError as error:
            seen[arrival.job.id] = error.kind, loop.time()

    await asyncio.gather(*(one(arrival) for arrival in arrivals))
    return seen


def _simulated(subject: Scheduler, arrivals: list[Arrival]) -> Seen:
    def times(one: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, _seconds(decision.variant, _body(one))

    outcomes = simulate(subject, arrivals, times, lambda _: STOP_S, lambda one, _: _sure(_body(one)))
    return {o.job.id: (o.decision.variant.name if o.decision else _kind(o.error), o.finished_s) for o in outcomes}


def _kind(error: EffserveError | None) -> str:
    assert error is not None
    return error.kind


def _body(one: Job) -> bytes:
    return b"%d" % one.id


def _hanging(name: str) -> bytes:
    """A body on which a variant takes five times what is expected, and b0 does not."""
    bodies = (_body(job(number)) for number in range(1000))
    return next(one for one in bodies if _seconds(variant(name), one) > 4 * TIMES_S[name] and _seconds(B0, one) < 0.05)


@pytest.mark.parametrize("insures", [True, False])
@pytest.mark.parametrize("stop_s", [None, STOP_S])
@pytest.mark.parametrize("lanes", [1, 2, 3])
async def test_shell_and_simulator_agree_on_every_request(lanes: int, stop_s: float | None, insures: bool) -> None:
    """Same trace, same scheduler: the same variant or error for each request at the same moment, whether runs can be
    terminated or not, and whether losses insure all or not."""
    arrivals, shell = _trace(lanes, lanes), _shell(lanes, stop_s=stop_s, insures=insures)
    subject = scheduler(lanes, background_lanes=lanes, stop_s=stop_s, insures=insures)
    expected = _simulated(subject, arrivals)
    seen = await _replay(shell, arrivals)
    now_s = asyncio.get_running_loop().time()
    assert {n: name for n, (name, _) in seen.items()} == {n: name for n, (name, _) in expected.items()}
    # The virtual clock ticks in microseconds.
    assert [seen[n][1] for n in expected] == pytest.approx([end_s for _, end_s in expected.values()], abs=1e-4)
    assert shell._scheduler.statistics(now_s).terminated == subject.statistics(now_s).terminated
    assert (subject.statistics(now_s).terminated > (1 if insures else 2)) == (stop_s is not None)


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


async def test_a_request_cancelled_while_it_runs_frees_its_lane_at_once_where_runs_can_be_terminated() -> None:
    """2 ms later the next one runs."""
    shell = _shell(1, stop_s=STOP_S)
    first = asyncio.create_task(shell.run(job(1, 5.0), b""))
    await asyncio.sleep(0.001)
    first.cancel()
    served = await shell.run(job(2, 5.0), b"")
    assert served.run.started_s == pytest.approx(0.001 + STOP_S, abs=1e-4)
    assert shell._scheduler.statistics(0.0).cancelled == 1


async def test_a_terminated_request_is_answered_in_the_end() -> None:
    """It makes room for an urgent one, runs again as its cheapest, and its client hears of nothing else."""
    shell = _shell(1, stop_s=STOP_S)
    patient = asyncio.create_task(shell.run(job(1, 1.0), b""))
    await asyncio.sleep(0.010)
    urgent = await shell.run(job(2, 0.06, at_s=0.010), b"")
    again = await patient
    assert [one.decision.variant.name for one in (urgent, again)] == ["b2", "b0"]
    assert [one.run.started_s for one in (urgent, again)] == pytest.approx([0.012, 0.048], abs=1e-4)
    assert again.decision.terminated is not None
    assert again.decision.terminated.name == "b4"


async def test_a_client_may_leave_while_its_terminated_request_waits_again() -> None:
    """It leaves the queue like any other."""
    shell = _shell(1, stop_s=STOP_S)
    patient = asyncio.create_task(shell.run(job(1, 1.0), b""))
    await asyncio.sleep(0.010)
    urgent = asyncio.create_task(shell.run(job(2, 0.06, at_s=0.010), b""))
    await asyncio.sleep(0.010)
    patient.cancel()
    assert (await urgent).decision.variant.name == "b2"
    now = shell._scheduler.statistics(0.1)
    assert (now.terminated, now.cancelled, now.finished, now.waiting, now.running) == (1, 1, 1, 0, 0)


async def test_a_run_that_hangs_is_terminated_at_the_last_moment() -> None:
    """Nothing happens but that time passes: 1.25 times 16 ms, 2 for stopping and 0.5 for the response are left."""
    shell = _shell(1, stop_s=STOP_S)
    patient = asyncio.create_task(shell.run(job(1, 5.0), _hanging("b4")))
    await asyncio.sleep(0.010)
    served = await shell.run(job(2, 0.2, at_s=0.010), b"")
    assert served.dispatched_s == pytest.approx(0.210 - 0.0005 - 1.25 * 0.016, abs=1e-3)
    assert (await patient).decision.terminated is not None


async def test_each_answer_that_is_kept_is_told_of() -> None:
    """b0 first; b4 follows, and nothing better does."""
    shell, told = _shell(1, stop_s=STOP_S), list[Served]()
    served = await shell.run(job(1, 1.0, policy=PolicyName.P2), b"", told.append)
    assert [one.decision.variant.name for one in (*told, served)] == ["b0", "b4"]
    assert served.hold_s == 0.0


async def test_an_answer_is_kept_no_longer_than_there_is_time() -> None:
    """b4 hangs. b0's answer, of which the client was told, goes out just before the deadline."""
    shell, told = _shell(1, stop_s=STOP_S), list[Served]()
    served = await shell.run(job(1, 0.25, policy=PolicyName.P2), _hanging("b4"), told.append)
    assert [one.decision.variant.name for one in (*told, served)] == ["b0", "b0"]
    assert asyncio.get_running_loop().time() == pytest.approx(0.2495 - HAND_OVER_S, abs=1e-4)
    assert served.hold_s == pytest.approx(0.2495 - HAND_OVER_S - served.run.inference_s, abs=1e-4)


async def test_a_client_may_leave_while_a_better_answer_is_tried() -> None:
    """Its run is ended, and the next upgrade has the lane 2 ms later."""
    shell = _shell(1, stop_s=STOP_S)
    first = asyncio.create_task(shell.run(job(1, 5.0, policy=PolicyName.P2), b""))
    await asyncio.sleep(0.020)
    second = asyncio.create_task(shell.run(job(2, 5.0, policy=PolicyName.P2), b""))
    await asyncio.sleep(0.020)
    first.cancel()
    served = await second
    assert served.decision.variant.name == "b4"
    assert served.run.started_s == pytest.approx(0.042, abs=1e-4)


async def test_a_cascade_hands_on_both_answers() -> None:
    """The first, and the one that it is to be averaged with."""
    served = await _shell(1).run(job(1, 1.0, policy=PolicyName.P3), b"")
    assert (served.decision.variant.name, served.decision.reason) == ("b4", Reason.CASCADES)
    assert served.earlier is not None
    assert (served.earlier.decision.variant, served.earlier.earlier) == (B0, None)
    insured = await _shell(1).run(job(1, 1.0, policy=PolicyName.P2), b"")
    assert (insured.decision.variant.name, insured.earlier) == ("b4", None)


async def test_an_answer_that_is_sure_enough_says_so() -> None:
    """Forty a second, of which a third can be upgraded, were less sure lately."""
    shell, told = _shell(1, confidences=(0.1,) * 100), list[Served]()
    for number in range(400):
        await shell.run(job(number, 0.05, at_s=asyncio.get_running_loop().time(), variant="b0"), b"")
    asked = job(400, 1.0, at_s=asyncio.get_running_loop().time(), policy=PolicyName.P3)
    served = await shell.run(asked, b"", told.append)
    assert (served.decision.variant, served.decision.reason, told) == (B0, Reason.CONFIDENT, [])


async def test_a_failed_upgrade_is_told_of_and_fails_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The answer in hand goes out, and the log has the cause."""
    shell = _shell(1, upgrade_error=RuntimeError("broken session"))
    served = await shell.run(job(1, 1.0, policy=PolicyName.P2), b"")
    assert served.decision.variant.name == "b0"
    assert "an upgrade to b4 failed" in caplog.text
    assert "broken session" in caplog.text


async def test_closing_sets_the_alarm_off() -> None:
    """Nobody is asked any more."""
    shell = _shell(1, stop_s=STOP_S)
    tasks = [asyncio.create_task(shell.run(job(number, budget_s), b"")) for number, budget_s in ((1, 5.0), (2, 6.0))]
    await asyncio.sleep(0.001)
    assert shell._alarm is not None
    shell.close()
    assert shell._alarm.cancelled()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
    await asyncio.sleep(0.001)
    assert "broken bookkeeping" in caplog.text


async def test_an_answer_does_not_wait_for_the_books_when_nobody_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are closed after it, and before anything else happens."""
    shell, closed = _shell(1), list[float | None]()
    finish = shell._scheduler.finish

    def noted(now_s: float, lane: int, run: Observation | None, ended_s: float | None) -> list[Action]:
        closed.append(ended_s)
        return finish(now_s, lane, run, ended_s)

    monkeypatch.setattr(shell._scheduler, "finish", noted)
    served = await shell.run(job(1, 1.0), b"")
    assert closed == []
    await asyncio.sleep(0)
    # Making the answer is no part of the run, however long it takes.
    assert closed == pytest.approx([served.run.inference_s], abs=1e-4)


async def test_a_fault_in_judging_an_answer_loses_neither_it_nor_the_lane(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing better is tried, and the next request finds the lane free."""

    def broken(_: Variant, __: Logits) -> float:
        raise RuntimeError("broken judge")

    shell = _shell(1)
    shell._judge = broken
    for number in (1, 2):
        asking = job(number, 1.0, at_s=asyncio.get_running_loop().time(), policy=PolicyName.P3)
        assert (await shell.run(asking, b"")).decision.variant == B0
    assert "broken judge" in caplog.text
    assert shell._scheduler.statistics(1.0).busy == 0


async def test_nothing_is_left_behind_after_any_outcome() -> None:
    """Answered, rejected and cancelled requests all leave the shell's books empty."""
    shell = _shell(1)
    tasks = [asyncio.create_task(shell.run(job(n, b), b"")) for n, b in ((1, 1.0), (2, 2.0), (3, 3.0))]
    await asyncio.sleep(0.001)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert shell._pending == {}
