"""Every run for a request is told of, to the moment, however it ended: what traces are made of."""

import asyncio

import pytest

from service.core.errors import EffserveError, ErrorKind
from service.core.trace import Attempt, Ending
from service.core.values import PolicyName
from service.pipeline.lanes import Served
from tests.builders import TIMES_S, job
from tests.timing.test_lanes import STOP_S, _hanging, _shell

pytestmark = pytest.mark.looptime

Told = list[tuple[str, str, bool]]


def ways(attempts: list[Attempt]) -> Told:
    """Variant, ending, and whether it was an upgrade, of each."""
    return [(one.decision.variant.name, one.ending.value, one.upgrade) for one in attempts]


def moments(attempts: list[Attempt]) -> list[float]:
    """Starts and ends."""
    return [moment for one in attempts for moment in (one.started_s, one.ended_s)]


def ignored(_: Served) -> None:
    """Earlier answers are not what is looked at here."""


async def test_a_run_that_answers_is_the_only_one() -> None:
    """From its start on the lane to its end there."""
    told: list[Attempt] = []
    served = await _shell(1).run(job(1, 5.0), b"", ignored, told.append)
    assert ways(told) == [("b4", "answered", False)]
    assert moments(told) == pytest.approx([0.0, TIMES_S["b4"]], abs=1e-4)
    assert told[0].decision is served.decision


async def test_a_terminated_run_is_told_of_before_the_one_that_answers() -> None:
    """From when its lane got it until that was free again."""
    shell, told = _shell(1, stop_s=STOP_S), list[Attempt]()
    patient = asyncio.create_task(shell.run(job(1, 1.0), b"", ignored, told.append))
    await asyncio.sleep(0.010)
    await shell.run(job(2, 0.06, at_s=0.010), b"")
    await patient
    assert ways(told) == [("b4", "terminated", False), ("b0", "answered", False)]
    assert moments(told) == pytest.approx([0.0, 0.012, 0.048, 0.064], abs=1e-4)


async def test_an_upgrade_is_told_of_after_the_answer_in_hand() -> None:
    """Both answered."""
    told: list[Attempt] = []
    await _shell(1).run(job(1, 1.0, policy=PolicyName.P2), b"", ignored, told.append)
    assert ways(told) == [("b0", "answered", False), ("b4", "answered", True)]
    assert moments(told) == pytest.approx([0.0, 0.016, 0.016, 0.160], abs=1e-4)


async def test_an_upgrade_in_vain_ends_with_its_request() -> None:
    """Whenever its lane comes free; that is told of to nobody."""
    shell, told = _shell(1, stop_s=STOP_S), list[Attempt]()
    served = await shell.run(job(1, 0.25, policy=PolicyName.P2), _hanging("b4"), ignored, told.append)
    await asyncio.sleep(10 * TIMES_S["b4"])
    assert ways(told) == [("b0", "answered", False), ("b4", "given_up", True)]
    assert told[1].ended_s == pytest.approx(told[0].ended_s + served.hold_s, abs=1e-4)


async def test_a_failed_upgrade_is_told_of() -> None:
    """Its request has its answer all the same."""
    told: list[Attempt] = []
    shell = _shell(1, upgrade_error=RuntimeError("broken session"))
    await shell.run(job(1, 1.0, policy=PolicyName.P2), b"", ignored, told.append)
    assert ways(told) == [("b0", "answered", False), ("b4", "failed", True)]


async def test_a_run_that_fails_is_told_of() -> None:
    """With the request that fails by it."""
    told: list[Attempt] = []
    shell = _shell(1, EffserveError(ErrorKind.UNDECODABLE_IMAGE, "damaged"))
    with pytest.raises(EffserveError):
        await shell.run(job(1, 5.0), b"", ignored, told.append)
    assert [one.ending for one in told] == [Ending.FAILED]


async def test_what_runs_when_the_client_leaves_is_given_up() -> None:
    """In that moment, though the lane takes longer to come free."""
    shell, told = _shell(1, stop_s=STOP_S), list[Attempt]()
    leaving = asyncio.create_task(shell.run(job(1, 5.0), b"", ignored, told.append))
    await asyncio.sleep(0.010)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.sleep(10 * STOP_S)
    assert ways(told) == [("b4", "given_up", False)]
    assert moments(told) == pytest.approx([0.0, 0.010], abs=1e-4)


async def test_who_leaves_the_queue_had_no_run() -> None:
    """Nothing is told of."""
    shell, told = _shell(1, stop_s=STOP_S), list[Attempt]()
    first = asyncio.create_task(shell.run(job(1, 5.0), b""))
    await asyncio.sleep(0.001)
    leaving = asyncio.create_task(shell.run(job(2, 9.0), b"", ignored, told.append))
    await asyncio.sleep(0.001)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await first
    assert told == []
