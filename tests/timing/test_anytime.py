"""Several answers to one request, in virtual time: when each comes, what holding costs, who waits for whom."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import numpy as np
import pytest

from service.core.latency import RESPOND_PRIOR_S
from service.core.messages import Answer, ClassifyRequest
from service.core.scheduler import Scheduler
from service.core.upgrading import HAND_OVER_S
from service.core.values import Deadline, PolicyName, Question, Source, Variant
from service.dataplane import Dataplane
from service.edges.anytime import as_they_come
from service.pipeline.lanes import Done, LaneRun
from tests.builders import TIMES_S, latency, policy
from tests.contract.grpc_kit import CLASSES, JPEG, Recorder, over

pytestmark = pytest.mark.looptime

BUDGET_S = 0.1
EXACTLY_S = 1e-4
"""The virtual clock ticks in microseconds, and a wake-up is not set sooner than this."""


class PunctualLane:
    """Runs take what is expected of them, but for one variant."""

    def __init__(self, late: str = "") -> None:
        self._late = late

    def start(self, body: Source, variant: Variant, done: Done) -> None:
        """Answer after the variant's time, or much later."""
        loop = asyncio.get_running_loop()
        seconds = TIMES_S[variant.name] * (10 if variant.name == self._late else 1)
        loop.call_later(seconds, done, LaneRun(np.zeros(CLASSES, np.float32), loop.time(), 0.0, seconds))

    def terminate(self) -> None:
        """Its result comes all the same."""

    def close(self) -> None:
        """Nothing to end."""


class Kit:
    """A dataplane with one lane, another one behind it, and what it has seen."""

    def __init__(self, late: str = "") -> None:
        rule, self.seen = policy(), Recorder()
        self.scheduler = Scheduler(policy=rule, latency=latency(), lanes=1, background_lanes=1)
        self.dataplane: Dataplane = over(
            self.scheduler, rule, [PunctualLane(), PunctualLane(late)], self.seen, asyncio.get_running_loop().time
        )

    def answers(self) -> AsyncGenerator[Answer, None]:
        """Of a request that comes now."""
        question = Question(Deadline(asyncio.get_running_loop().time(), BUDGET_S), policy=PolicyName.P2)
        asking = ClassifyRequest(JPEG, question, "id", "http")

        async def work(put: Callable[[Answer], None]) -> Answer:
            answer = await self.dataplane.classify(asking, put)
            self.dataplane.handed_over(asking, answer)
            return answer

        return as_they_come(work)


async def moments(kit: Kit) -> list[tuple[str, bool, float]]:
    """Variant, whether final, and when each answer came."""
    clock = asyncio.get_running_loop().time
    return [(answer.decision.variant.name, answer.final, clock()) async for answer in kit.answers()]


async def test_each_answer_comes_when_its_run_ends() -> None:
    """b0 after its 16 ms; of the 84 left, b3 takes 63, and nothing better fits the rest."""
    found = await moments(Kit())
    assert [(name, final) for name, final, _ in found] == [("b0", False), ("b3", True)]
    assert [at_s for _, _, at_s in found] == pytest.approx([0.016, 0.079], abs=EXACTLY_S)


async def test_the_last_answer_comes_before_the_deadline_whatever_runs() -> None:
    """b3 hangs: b0's answer is repeated with the reserve for the response left."""
    kit = Kit(late="b3")
    found = await moments(kit)
    assert [(name, final) for name, final, _ in found] == [("b0", False), ("b0", True)]
    assert found[1][2] == pytest.approx(BUDGET_S - RESPOND_PRIOR_S - HAND_OVER_S, abs=2 * EXACTLY_S)
    await asyncio.sleep(0)
    (event,) = kit.seen.answered
    assert event.answer.budget_met
    assert event.answer.timing.hold_s == pytest.approx(found[1][2] - 0.016, abs=EXACTLY_S)
    assert event.answer.timing.total_s == pytest.approx(found[1][2], abs=EXACTLY_S)


async def test_holding_an_answer_is_no_response_time() -> None:
    """Or later budgets would lose what an answer was held for."""
    kit = Kit(late="b3")
    await moments(kit)
    assert kit.scheduler.latency.respond_s() < RESPOND_PRIOR_S


async def test_the_work_does_not_wait_for_a_slow_reader() -> None:
    """The last answer was ready in time, whenever it is fetched."""
    found = []
    async for answer in Kit().answers():
        found.append(answer.timing.total_s)
        await asyncio.sleep(1.0)
    assert found == pytest.approx([0.016, 0.079], abs=EXACTLY_S)


async def test_whoever_stops_listening_ends_the_work() -> None:
    """Nothing is left of it but one cancelled request."""
    kit = Kit()
    async with aclosing(kit.answers()) as answers:
        await anext(answers)
    now = kit.scheduler.statistics(asyncio.get_running_loop().time())
    assert (now.cancelled, now.insured, now.running) == (1, 0, 0)
    assert [failed.kind for failed in kit.seen.failed] == ["cancelled"]
    assert len(asyncio.all_tasks()) == 1


async def test_a_fault_in_the_bookkeeping_does_not_hold_an_answer_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing would deliver it; so it is final at once."""
    kit = Kit()

    def broken(*_: object) -> None:
        raise RuntimeError("broken bookkeeping")

    monkeypatch.setattr(kit.scheduler, "finish", broken)
    assert [(name, final) for name, final, _ in await moments(kit)] == [("b0", True)]
    assert "broken bookkeeping" in caplog.text
