"""`ClassifyAnytime` over a real socket: messages as answers come, what ends them early, who may ask."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from service.core.errors import EffserveError, ErrorKind
from service.edges.status import STATUS
from service.wire import classifier_pb2 as pb
from tests.builders import TIMES_S, latency
from tests.contract.grpc_client import CLASSIFIER, Scenario, ask, on_uvloop, trailer
from tests.contract.grpc_kit import IMAGE_BYTES, PATIENCE_S, Kit, serving

Call = Any
"""A call with one request and several responses; the generated code has no types."""
ENOUGH_MS = 500_000
"""For the slowest variant."""


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    """One lane."""
    async with serving() as started:
        yield started


async def begun(kit: Kit, **fields: object) -> Call:
    """A call whose first run has ended; the others are held."""
    kit.gate.open = False
    call = kit.stub.ClassifyAnytime(ask(**{"budget_ms": ENOUGH_MS, **fields}))
    await kit.gate.until_held(1)
    kit.gate.step()
    return call


async def all_of(call: Call) -> list[pb.ClassifyResponse]:
    """Every response from here to the end of the call."""
    found = []
    while (response := await call.read()) is not grpc.aio.EOF:
        found.append(response)
    return found


def shown(response: pb.ClassifyResponse) -> tuple[str, str, bool]:
    """Who answered, why, and whether it was the last word."""
    return response.decision.variant, response.decision.reason, response.final


async def refusal(call: Call) -> tuple[grpc.StatusCode, str, str]:
    """Status, kind and details of a call that fails before its first answer."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await all_of(call)
    return caught.value.code(), (await trailer(call))["effserve-error-kind"], caught.value.details() or ""


async def test_the_cheapest_answers_while_a_better_one_runs(kit: Kit) -> None:
    """The first message is there before the second run has ended."""
    call = await begun(kit)
    first = await call.read()
    assert shown(first) == ("b0", "insures", False)
    kit.gate.release()
    (final,) = await all_of(call)
    assert shown(final) == ("b4", "upgrades", True)
    assert final.budget.met
    assert await call.code() is grpc.StatusCode.OK


async def test_answers_get_better_and_better(kit: Kit) -> None:
    """The budget buys b2 at first; once the machine is as quick as in the paper, it buys b4 on top."""
    call = await begun(kit, budget_ms=60_000, request_id="mine")
    seen = [await call.read()]
    kit.scheduler.latency = latency(TIMES_S)
    kit.gate.release()
    seen += await all_of(call)
    assert [(response.decision.variant, response.final) for response in seen] == [
        ("b0", False), ("b2", False), ("b4", True),
    ]  # fmt: skip
    accuracies = [response.decision.expected_top1 for response in seen]
    assert accuracies == sorted(set(accuracies))
    assert {response.request_id for response in seen} == {"mine"}


async def test_a_call_names_request_variant_and_stages_of_its_last_answer(kit: Kit) -> None:
    """As Classify."""
    call = kit.stub.ClassifyAnytime(ask(budget_ms=ENOUGH_MS, request_id="mine"))
    *_, final = await all_of(call)
    metadata = await trailer(call)
    assert (metadata["x-request-id"], metadata["x-model-variant"]) == ("mine", "b4")
    assert metadata["server-timing"].endswith(f"total;dur={final.timing.total_ms:.3f}")


async def test_the_same_answer_ends_the_call_when_nothing_better_came(kit: Kit) -> None:
    """The better one failed: what was in hand is final, and was held meanwhile."""
    call = await begun(kit)
    first = await call.read()
    kit.gate.error = RuntimeError("broken session")
    kit.gate.release()
    (final,) = await all_of(call)
    assert shown(final) == ("b0", "insures", True)
    assert final.predictions == first.predictions
    assert final.timing.hold_ms > first.timing.hold_ms == 0
    assert (len(kit.seen.answered), kit.seen.failed) == (1, [])


@pytest.mark.parametrize(
    ("fields", "variant", "reason"),
    [
        ({"variant": "b1"}, "b1", "named_by_request"),
        ({"min_accuracy": 0.8}, "b2", "cheapest_at_min_accuracy"),
        ({"policy": pb.POLICY_P2, "budget_ms": 20_000}, "b0", "insures"),
        ({"budget_ms": 1}, "b0", "cheapest_none_fits"),
    ],
)
async def test_where_nothing_better_can_follow_the_first_answer_is_final(
    kit: Kit, fields: dict[str, object], variant: str, reason: str
) -> None:
    """A variant or an accuracy that is asked for, and a budget for no more than the cheapest."""
    (response,) = await all_of(kit.stub.ClassifyAnytime(ask(**fields)))
    assert shown(response) == (variant, reason, True)


async def test_answers_to_other_calls_are_final(kit: Kit) -> None:
    """There is one for each image."""
    assert (await kit.stub.Classify(ask())).final
    assert [response.answer.final async for response in kit.stub.ClassifyStream([ask()])] == [True]


async def test_the_deadline_of_the_call_is_the_budget(kit: Kit) -> None:
    """As for Classify."""
    *_, final = await all_of(kit.stub.ClassifyAnytime(ask(), timeout=400))
    assert 300_000 < final.budget.requested_ms <= 401_000


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"policy": pb.POLICY_K1}, ErrorKind.INVALID_PARAMETER),
        ({"policy": 7}, ErrorKind.INVALID_PARAMETER),
        ({"image": b""}, ErrorKind.EMPTY_IMAGE),
        ({"image": bytes(IMAGE_BYTES + 1)}, ErrorKind.IMAGE_TOO_LARGE),
        ({"variant": "b9"}, ErrorKind.UNKNOWN_VARIANT),
        ({"mode": pb.MODE_STRICT, "budget_ms": 1.0}, ErrorKind.INFEASIBLE_BUDGET),
    ],
)
async def test_a_failure_before_the_first_answer_is_that_of_classify(
    kit: Kit, fields: dict[str, object], kind: ErrorKind
) -> None:
    """Status and name; told once."""
    status, name, _ = await refusal(kit.stub.ClassifyAnytime(ask(**fields)))
    assert (status, name) == (STATUS[kind].grpc, kind)
    assert [failed.kind for failed in kit.seen.failed] == [kind]


async def test_a_first_run_that_fails_ends_the_call(kit: Kit) -> None:
    """No answer is in hand then."""
    kit.gate.error = EffserveError(ErrorKind.UNDECODABLE_IMAGE, "cut short")
    status, name, details = await refusal(kit.stub.ClassifyAnytime(ask()))
    assert (status, name, details) == (grpc.StatusCode.INVALID_ARGUMENT, "undecodable-image", "cut short")


async def test_bytes_that_are_no_message_are_malformed(kit: Kit) -> None:
    """A fault of the client, named as such."""
    call: Call = kit.channel.unary_stream(f"/{CLASSIFIER}/ClassifyAnytime")
    status, name, _ = await refusal(call(b"\xff\xff"))
    assert (status, name) == (grpc.StatusCode.INVALID_ARGUMENT, "malformed-request")


async def test_a_failure_after_the_first_answer_ends_the_call(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has come; then INTERNAL, which shows nothing of the inside."""
    call = await begun(kit)
    assert (await call.read()).decision.variant == "b0"

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("service.dataplane.response.top_k", broken)
    kit.gate.release()
    status, name, details = await refusal(call)
    assert (status, name) == (grpc.StatusCode.INTERNAL, "internal")
    assert "secret" not in details
    assert [failed.kind for failed in kit.seen.failed] == [ErrorKind.INTERNAL]
    assert kit.seen.answered == []


async def _left(kit: Kit, call: Call) -> None:
    """The call is cancelled; its job is gone and was counted once, and the lane serves the next."""
    call.cancel()
    await kit.seen.until(failed=1)
    await kit.until_in_hand(0)
    kit.gate.release()
    again = await all_of(kit.stub.ClassifyAnytime(ask(budget_ms=ENOUGH_MS)))
    assert [response.final for response in again] == [False, True]
    assert [failed.kind for failed in kit.seen.failed] == [ErrorKind.CANCELLED]
    assert kit.scheduler.statistics(0.0).cancelled == 1


async def test_a_call_cancelled_after_an_answer_is_worked_for_no_longer(kit: Kit) -> None:
    """While a better one runs."""
    call = await begun(kit)
    await call.read()
    await _left(kit, call)


async def test_a_call_cancelled_before_its_first_answer_is_worked_for_no_longer(kit: Kit) -> None:
    """While the cheapest runs."""
    kit.gate.open = False
    call = kit.stub.ClassifyAnytime(ask(budget_ms=ENOUGH_MS))
    await kit.gate.until_held(1)
    await _left(kit, call)


async def test_stopping_waits_for_the_last_answer(kit: Kit) -> None:
    """The call is in hand; a new one is sent elsewhere."""
    call = await begun(kit)
    await call.read()
    # As `stop` does first. Half a second later it closes the server, and the library answers without a name.
    kit.server._stopping.set()
    status, name, _ = await refusal(kit.stub.ClassifyAnytime(ask()))
    assert (status, name) == (grpc.StatusCode.UNAVAILABLE, "draining")
    stopping = asyncio.create_task(kit.server.stop(PATIENCE_S))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    kit.gate.release()
    assert [response.final for response in await all_of(call)] == [True]
    await stopping


@pytest.mark.parametrize(
    "scenario",
    [
        test_the_cheapest_answers_while_a_better_one_runs,
        test_a_call_cancelled_after_an_answer_is_worked_for_no_longer,
        test_stopping_waits_for_the_last_answer,
    ],
)
def test_uvloop_makes_no_difference(scenario: Scenario) -> None:
    """What depends on the event loop is the same on the one that the service runs on."""
    on_uvloop(scenario)
