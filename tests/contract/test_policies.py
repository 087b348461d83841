"""`policy` on both protocols: for a request that names one and for one that does not; and the stages of its time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import grpc
import httpx
import pytest

from service.core.values import PolicyName
from service.edges.questions import Defaults
from service.edges.timing import STAGES
from service.wire import classifier_pb2 as pb
from tests.contract import grpc_kit, http_kit
from tests.contract.grpc_client import ask, failure
from tests.contract.grpc_kit import JPEG

JPEG_TYPE = {"Content-Type": "image/jpeg"}
ENOUGH_MS = 500_000
INSURED = Defaults(policy=PolicyName.P2)
CASES = [
    # policy, budget, variant that answers, reason
    ("k1", ENOUGH_MS, "b4", "most_accurate_that_fits"),
    ("p2", ENOUGH_MS, "b4", "upgrades"),
    ("p2", 20_000, "b0", "insures"),
    ("p2", 1, "b0", "cheapest_none_fits"),
    ("p3", ENOUGH_MS, "b4", "cascades"),
    ("p3", 20_000, "b0", "insures"),
]
MESSAGES = {"k1": pb.POLICY_K1, "p2": pb.POLICY_P2, "p3": pb.POLICY_P3}


@pytest.fixture
async def http() -> AsyncIterator[http_kit.Kit]:
    """One lane."""
    async with http_kit.gated() as kit:
        yield kit


@pytest.fixture
async def rpc() -> AsyncIterator[grpc_kit.Kit]:
    """One lane."""
    async with grpc_kit.serving() as kit:
        yield kit


async def classify(kit: http_kit.Kit, query: str) -> httpx.Response:
    """One raw upload."""
    return await kit.client.post(f"/classify?{query}", content=JPEG, headers=JPEG_TYPE)


@pytest.mark.parametrize(("policy", "budget_ms", "variant", "reason"), CASES)
async def test_a_request_over_http_may_name_a_policy(
    http: http_kit.Kit, policy: str, budget_ms: int, variant: str, reason: str
) -> None:
    """One answer either way: the last."""
    answer = (await classify(http, f"policy={policy}&budget_ms={budget_ms}")).raise_for_status().json()
    assert (answer["decision"]["variant"], answer["decision"]["reason"], answer["final"]) == (variant, reason, True)


@pytest.mark.parametrize(("policy", "budget_ms", "variant", "reason"), CASES)
async def test_a_request_over_grpc_may_name_a_policy(
    rpc: grpc_kit.Kit, policy: str, budget_ms: int, variant: str, reason: str
) -> None:
    """The same by its number."""
    answer = await rpc.stub.Classify(ask(policy=MESSAGES[policy], budget_ms=budget_ms))
    assert (answer.decision.variant, answer.decision.reason, answer.final) == (variant, reason, True)


@pytest.mark.parametrize(
    ("policy", "variant", "reason"), [(c[0], c[2], c[3]) for c in CASES[:1]] + [("p2", "b0", "insures")]
)
async def test_a_plan_tells_what_comes_first(
    http: http_kit.Kit, rpc: grpc_kit.Kit, policy: str, variant: str, reason: str
) -> None:
    """Whether something better follows is not known beforehand."""
    over_http = (await http.client.get(f"/plan?policy={policy}&budget_ms={ENOUGH_MS}")).json()["decision"]
    over_grpc = (await rpc.stub.Plan(pb.PlanRequest(policy=MESSAGES[policy], budget_ms=ENOUGH_MS))).decision
    assert (over_http["variant"], over_http["reason"]) == (over_grpc.variant, over_grpc.reason) == (variant, reason)


async def test_without_one_the_services_own_policy_holds() -> None:
    """`routing.policy`, on both protocols; a request's own wins over it."""
    async with http_kit.gated(defaults=INSURED) as http, grpc_kit.serving(defaults=INSURED) as rpc:
        over_http = [
            (await classify(http, f"budget_ms={ENOUGH_MS}{more}")).json()["decision"]["reason"]
            for more in ("", "&policy=k1")
        ]
        over_grpc = [
            (await rpc.stub.Classify(ask(budget_ms=ENOUGH_MS, **more))).decision.reason
            for more in ({}, {"policy": pb.POLICY_K1})
        ]
    assert over_http == over_grpc == ["upgrades", "most_accurate_that_fits"]


async def test_an_answer_names_its_members_and_what_they_lack(http: http_kit.Kit, rpc: grpc_kit.Kit) -> None:
    """Two after an upgrade of a cascade, here without temperatures; else the one that answers."""
    query = f"budget_ms={ENOUGH_MS}&policy="
    found = {policy: (await classify(http, query + policy)).json() for policy in ("k1", "p2", "p3")}
    assert {policy: answer["members"] for policy, answer in found.items()} == {
        "k1": ["b4"], "p2": ["b4"], "p3": ["b0", "b4"],
    }  # fmt: skip
    assert found["k1"]["warnings"] == found["p2"]["warnings"] == []
    assert [warning.split()[1] for warning in found["p3"]["warnings"]] == ["b0", "b4"]
    assert all("no fitted temperature" in warning for warning in found["p3"]["warnings"])
    over_grpc = await rpc.stub.Classify(ask(policy=pb.POLICY_P3, budget_ms=ENOUGH_MS))
    assert (over_grpc.members, over_grpc.warnings) == (found["p3"]["members"], found["p3"]["warnings"])


async def test_an_unknown_policy_is_refused_by_name(http: http_kit.Kit, rpc: grpc_kit.Kit) -> None:
    """On both protocols, a newer client's number too."""
    problem = (await classify(http, "policy=k9")).json()
    assert (problem["kind"], problem["parameter"]) == ("invalid-parameter", "policy")
    status, metadata, _ = await failure(rpc.stub.Classify(ask(policy=9)))
    assert (status, metadata["effserve-parameter"]) == (grpc.StatusCode.INVALID_ARGUMENT, "policy")


@pytest.mark.parametrize("policy", ["k1", "p2"])
async def test_stages_add_up_over_http(http: http_kit.Kit, policy: str) -> None:
    """With the time that an answer was held: the better run fails, so the first is delivered late."""
    answer = await _held(http.gate, classify(http, f"policy={policy}&budget_ms={ENOUGH_MS}"), policy)
    assert isinstance(answer, httpx.Response)
    timing = answer.json()["timing_ms"]
    assert tuple(timing) == STAGES
    _adds_up(timing, policy)
    parts = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert {stage: float(ms) for stage, ms in parts.items()} == timing


@pytest.mark.parametrize("policy", ["k1", "p2"])
async def test_stages_add_up_over_grpc(rpc: grpc_kit.Kit, policy: str) -> None:
    """The same."""
    answer = await _held(rpc.gate, rpc.stub.Classify(ask(policy=MESSAGES[policy], budget_ms=ENOUGH_MS)), policy)
    assert isinstance(answer, pb.ClassifyResponse)
    _adds_up({stage: getattr(answer.timing, f"{stage}_ms") for stage in STAGES}, policy)


async def _held(gate: grpc_kit.Gate, asking: Awaitable[object], policy: str) -> object:
    """The answer of the first run, which is held until the second has failed where there is a second."""
    gate.open = False
    answer = asyncio.ensure_future(asking)
    await gate.until_held(1)
    gate.step()
    if policy == "p2":
        await gate.until_held(1)
        gate.error = RuntimeError("broken session")
        gate.step()
    return await answer


def _adds_up(timing: dict[str, float], policy: str) -> None:
    assert sum(timing[stage] for stage in STAGES[:-1]) == pytest.approx(timing["total"], abs=0.01)
    assert min(timing.values()) >= 0
    assert (timing["hold"] > 0) == (policy == "p2")
