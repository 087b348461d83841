"""A budget that is none: every protocol and every way to send it refuses it in the same words."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio

from service.wire import classifier_pb2, classifier_pb2_grpc
from tests.contract.grpc_client import failure
from tests.contract.oip_kit import Kit, document, lengths, message, serving
from tests.fixtures import jpeg, tiny_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = jpeg(160, 120)
HEADER = "X-Latency-Budget-Ms"
WANTED = "should be a number of milliseconds above 0 and up to 600,000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kit]:
    """Both servers."""
    async with serving(tiny_store(tmp_path_factory.mktemp("store"))) as made:
        yield made


def _said(response: httpx.Response) -> str:
    assert response.is_client_error
    told = response.json()
    return str(told.get("detail") or told["error"])


async def _posted(kit: Kit, path: str, headers: dict[str, str]) -> str:
    return _said(await kit.http.post(path, content=PHOTO, headers={"Content-Type": "image/jpeg"} | headers))


async def _refused(call: Any) -> str:  # noqa: ANN401
    status, trailer, detail = await failure(call)
    assert (status, trailer["effserve-error-kind"]) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid-parameter")
    return detail


@pytest.mark.parametrize("budget_ms", [-1, 0, 0.0, 600_001, float("nan"), float("inf")])
async def test_a_parameter_is_refused_alike(kit: Kit, budget_ms: float) -> None:
    """With the value, as a number is written by people, and with what it should be."""
    stub: Any = classifier_pb2_grpc.ClassifierStub(kit.channel)  # type: ignore[no-untyped-call]
    parameters = {"budget_ms": budget_ms}
    said = {
        await _posted(kit, f"/classify?budget_ms={budget_ms}", {}),
        await _posted(kit, f"/classify/anytime?budget_ms={budget_ms}", {}),
        _said(await kit.http.get(f"/plan?budget_ms={budget_ms}")),
        await _refused(stub.Classify(classifier_pb2.ClassifyRequest(image=PHOTO, budget_ms=budget_ms))),
        await _refused(stub.Plan(classifier_pb2.PlanRequest(budget_ms=budget_ms))),
        await _refused(kit.stub.ModelInfer(message(raw=lengths([PHOTO]), parameters=parameters))),
    }
    if budget_ms == budget_ms and budget_ms != float("inf"):
        # JSON has no others.
        said.add(_said(await kit.post(document([PHOTO], parameters=parameters))))
    assert said == {f"budget_ms: '{str(budget_ms).removesuffix('.0')}' {WANTED}"}


@pytest.mark.parametrize("text", ["soon", "-1", "1e9", ""])
async def test_a_header_is_refused_alike(kit: Kit, text: str) -> None:
    """By its own name; over gRPC it is metadata."""
    whole = {HEADER: text, "Inference-Header-Content-Length": "0"}
    metadata = ((HEADER.lower(), text),)
    said = {
        await _posted(kit, "/classify", {HEADER: text}),
        _said(await kit.http.get("/plan", headers={HEADER: text})),
        await _posted(kit, "/v2/models/efficientnet/infer", whole),
        await _refused(kit.stub.ModelInfer(message(raw=lengths([PHOTO]), parameters={}), metadata=metadata)),
    }
    assert said == {f"{HEADER}: {text!r} {WANTED}"}


async def test_a_header_that_the_query_wins_over_is_not_looked_at(kit: Kit) -> None:
    """Wherever there are both."""
    headers = {HEADER: "soon"}
    posted = await kit.http.post(
        "/classify?budget_ms=60000", content=PHOTO, headers=headers | {"Content-Type": "image/jpeg"}
    )
    planned = await kit.http.get("/plan?budget_ms=60000", headers=headers)
    assert (posted.status_code, planned.status_code) == (200, 200)


async def test_a_header_sent_twice_is_refused_alike(kit: Kit) -> None:
    """It is a list then, and no number: none of its values is taken for the one that was meant."""
    twice = [(HEADER, "50"), (HEADER, "70")]
    whole, photo = ("Inference-Header-Content-Length", "0"), ("Content-Type", "image/jpeg")
    metadata = ((HEADER.lower(), "50"), (HEADER.lower(), "70"))
    said = {
        _said(await kit.http.post("/classify", content=PHOTO, headers=[photo, *twice])),
        _said(await kit.http.get("/plan", headers=twice)),
        _said(await kit.http.post("/v2/models/efficientnet/infer", content=PHOTO, headers=[whole, *twice])),
        await _refused(kit.stub.ModelInfer(message(raw=lengths([PHOTO]), parameters={}), metadata=metadata)),
    }
    assert said == {f"{HEADER}: '50, 70' {WANTED}"}


@pytest.mark.parametrize("query", ["budget_ms=50&budget_ms=70", "mode=strict&budget_ms=50&budget_ms=50"])
async def test_a_parameter_given_twice_is_refused_alike(kit: Kit, query: str) -> None:
    """By name, also when both values are the same."""
    said = {
        await _posted(kit, f"/classify?{query}", {}),
        await _posted(kit, f"/classify/anytime?{query}", {}),
        _said(await kit.http.get(f"/plan?{query}")),
    }
    assert said == {"budget_ms is given more than once; it takes one value"}


@pytest.mark.parametrize("timeout_us", [-5, "5", 10**400])
async def test_a_timeout_is_refused_in_its_own_unit(kit: Kit, timeout_us: int | str) -> None:
    """Microseconds, as the Open Inference Protocol has them."""
    said = _said(await kit.post(document([PHOTO], parameters={"timeout": timeout_us})))
    assert said.startswith(f"timeout: '{str(timeout_us)[:40]}")
    assert said.endswith("should be a number of microseconds above 0 and up to 600,000,000")
