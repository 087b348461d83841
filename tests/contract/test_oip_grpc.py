"""`inference.GRPCInferenceService` on a real socket: what is said of models, budgets, streams, and what is refused."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from service.wire import grpc_inference_pb2 as pb
from tests.contract.grpc_client import failure, trailer
from tests.contract.grpc_kit import BATCH, REQUEST_BYTES
from tests.contract.oip_kit import ENOUGH, Kit, as_parameter, lengths, message, serving
from tests.fixtures import CLASSES, jpeg, tiny_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = jpeg(160, 120)
RAW = lengths([PHOTO])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained variants."""
    return tiny_store(tmp_path_factory.mktemp("store"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(store: Path) -> AsyncIterator[Kit]:
    """Servers over the store, for all tests."""
    async with serving(store) as made:
        yield made


@pytest.fixture
def kit(running: Kit) -> Kit:
    """Ready, and nothing has been seen yet."""
    running.dataplane.ready = True
    running.seen.events.clear()
    return running


def given(response: pb.ModelInferResponse) -> dict[str, Any]:
    """The parameters that came back."""
    return {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in response.parameters.items()}


async def test_readiness_follows_the_service(kit: Kit) -> None:
    """Of the server and of each model; what does not exist is not ready, which is no error."""
    assert (await kit.stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await kit.stub.ModelReady(pb.ModelReadyRequest(name="b0", version="1"))).ready
    assert not (await kit.stub.ModelReady(pb.ModelReadyRequest(name="b9"))).ready
    kit.dataplane.ready = False
    assert not (await kit.stub.ServerReady(pb.ServerReadyRequest())).ready
    assert not (await kit.stub.ModelReady(pb.ModelReadyRequest(name="b0"))).ready
    assert (await kit.stub.ServerLive(pb.ServerLiveRequest())).live


async def test_descriptions_are_those_of_http(kit: Kit) -> None:
    """They are made in one place."""
    server = await kit.stub.ServerMetadata(pb.ServerMetadataRequest())
    assert list(server.extensions) == (await kit.http.get("/v2")).json()["extensions"]
    metadata = await kit.stub.ModelMetadata(pb.ModelMetadataRequest(name="b0"))
    (taken,) = metadata.inputs
    assert (taken.name, taken.datatype, list(taken.shape)) == ("image", "UINT8", [-1, 32, 32, 3])
    config = (await kit.stub.ModelConfig(pb.ModelConfigRequest(name="efficientnet"))).config
    assert (config.max_batch_size, config.input[0].data_type, list(config.output[0].dims)) == (
        BATCH, pb.TYPE_STRING, [CLASSES],
    )  # fmt: skip
    index = await kit.stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
    assert [(one.name, one.state) for one in index.models] == [
        ("b0", "READY"), ("b1", "READY"), ("efficientnet", "READY"),
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
async def test_what_is_not_served_is_not_found(kit: Kit, method: str) -> None:
    """Neither names nor versions."""
    for fields in ({"name": "b9"}, {"name": "b0", "version": "2"}):
        request = getattr(pb, f"{method}Request")(**fields)
        status, metadata, _ = await failure(getattr(kit.stub, method)(request))
        assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.NOT_FOUND, "unknown-variant")


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
async def test_models_are_changed_only_where_the_operator_allows_it(kit: Kit, method: str) -> None:
    """The sentence names the setting."""
    request = getattr(pb, f"{method}Request")(model_name="b0")
    status, _, detail = await failure(getattr(kit.stub, method)(request))
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert "store.changes is `none`" in detail


async def test_the_decision_comes_with_the_response(kit: Kit) -> None:
    """As parameters and in the trailer; the client's id comes back."""
    call = kit.stub.ModelInfer(message(raw=RAW, id="mine"))
    response = await call
    assert (response.model_name, response.model_version, response.id) == ("efficientnet", "1", "mine")
    said = given(response)
    assert (said["variant"], said["reason"], said["budget_met"]) == ("b1", "most_accurate_that_fits", True)
    assert {"x-request-id": "mine", "x-model-variant": "b1"}.items() <= (await trailer(call)).items()


BUDGETS: list[tuple[Mapping[str, Any], tuple[tuple[str, str], ...], float | None, float]] = [
    ({"budget_ms": 5000, "timeout": 7_000_000}, (("x-latency-budget-ms", "6000"),), 50.0, 5000),
    ({"timeout": 7_000_000}, (("x-latency-budget-ms", "6000"),), 50.0, 6000),
    ({"timeout": 7_000_000}, (), 50.0, 7000),
    ({}, (), None, 100),
    ({}, (), 90_000.0, 100),
]
"""Parameters, metadata, deadline, and the budget that counts. A deadline of a day means none."""


@pytest.mark.parametrize(("parameters", "metadata", "deadline_s", "budget_ms"), BUDGETS)
async def test_where_the_budget_comes_from(
    kit: Kit,
    parameters: Mapping[str, Any],
    metadata: tuple[tuple[str, str], ...],
    deadline_s: float | None,
    budget_ms: float,
) -> None:
    """And the server's default when nobody says."""
    asked = message(raw=RAW, parameters=parameters)
    assert given(await kit.stub.ModelInfer(asked, metadata=metadata, timeout=deadline_s))["budget_ms"] == budget_ms


async def test_a_deadline_is_a_budget(kit: Kit) -> None:
    """What is left of it when the call arrives; gRPC rounds it up on the way."""
    said = given(await kit.stub.ModelInfer(message(raw=RAW, parameters={}), timeout=50.0))
    assert 25_000 < said["budget_ms"] < 55_000


async def test_classes_as_text(kit: Kit) -> None:
    """In place of the tensor."""
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(
        name="probabilities", parameters={"classification": as_parameter(3)}
    )
    response = await kit.stub.ModelInfer(message(raw=RAW, outputs=[wanted]))
    (output,) = response.outputs
    assert (output.datatype, list(output.shape)) == ("BYTES", [1, 3])
    assert response.raw_output_contents[0][4:].split(b":")[2].startswith(b"class ")


async def test_a_stream_answers_in_order_and_survives_failures(kit: Kit) -> None:
    """One bad request is an error message with its id."""
    requests = [
        message(raw=RAW, id="1"),
        message(raw=lengths([b"no image"]), id="2"),
        message(raw=RAW, model="b9", id="3"),
        *(message(raw=RAW, id=str(number)) for number in range(4, 12)),
    ]
    responses = [one async for one in kit.stub.ModelStreamInfer(iter(requests))]
    assert [one.infer_response.id for one in responses] == [str(number) for number in range(1, 12)]
    failed = [one.error_message.partition(":")[0] for one in responses if one.error_message]
    assert failed == ["undecodable-image", "unknown-variant"]


async def test_a_stream_says_that_a_response_is_the_last_where_that_is_asked(kit: Kit) -> None:
    """Each request has one."""
    asked = message(raw=RAW, parameters=ENOUGH | {"triton_enable_empty_final_response": True})
    (response,) = [one async for one in kit.stub.ModelStreamInfer(iter([asked]))]
    assert given(response.infer_response)["triton_final_response"] is True


MALFORMED: dict[str, pb.ModelInferRequest] = {
    "contents beside raw contents": message(raw=RAW, contents={"bytes_contents": [PHOTO]}),
    "more raw contents than inputs": pb.ModelInferRequest(model_name="b0", raw_input_contents=[RAW]),
    "no inputs": pb.ModelInferRequest(model_name="b0"),
    "contents of another datatype": message(contents={"fp32_contents": [1.0]}),
    "contents of two datatypes": message(contents={"bytes_contents": [PHOTO], "int_contents": [1]}),
    "levels above 255": message("UINT8", (1, 1, 1, 3), contents={"uint_contents": [0, 0, 256]}),
    "no contents": message(),
    "more files than the shape says": message(contents={"bytes_contents": [PHOTO, b""]}),
    "fewer numbers than the shape says": message("FP32", (1, 1, 1, 3), contents={"fp32_contents": [0.0]}),
    "many empty files": message(contents={"bytes_contents": [b""] * 100_000}),
    "many empty files in raw form": message(raw=bytes(200_000)),
    "another datatype": message("INT64", (1, 1), raw=bytes(8)),
    "a parameter without a value": pb.ModelInferRequest(model_name="b0", parameters={"budget_ms": pb.InferParameter()}),
    "classes in words": message(
        raw=RAW,
        outputs=[
            pb.ModelInferRequest.InferRequestedOutputTensor(
                name="logits", parameters={"classification": as_parameter("5")}
            )
        ],
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_breaks_the_protocol_is_named(kit: Kit, name: str) -> None:
    """INVALID_ARGUMENT; nothing ran, and one failure was told."""
    status, metadata, _ = await failure(kit.stub.ModelInfer(MALFORMED[name]))
    assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.INVALID_ARGUMENT, "malformed-request")
    assert (len(kit.seen.answered), len(kit.seen.failed)) == (0, 1)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelReady"])
async def test_bytes_that_are_no_message_are_malformed(kit: Kit, method: str) -> None:
    """The client's fault, not the server's."""
    call: Any = kit.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    status, _, _ = await failure(call(b"\xff\xff"))
    assert status is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"budget_ms": True}, "budget_ms"),
        ({"min_accuracy": True}, "min_accuracy"),
        ({"min_accuracy": math.nan}, "min_accuracy"),
        ({"timeout": 2**63 - 1}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"priority": -1}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"budget_sm": 5}, "budget_sm"),
    ],
)
async def test_a_wrong_parameter_is_named(kit: Kit, parameters: dict[str, Any], name: str) -> None:
    """As over HTTP."""
    status, metadata, detail = await failure(kit.stub.ModelInfer(message(raw=RAW, parameters=parameters)))
    assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid-parameter")
    assert detail.startswith(name)


async def test_priorities_have_no_effect_and_that_is_said(kit: Kit) -> None:
    """In a call as in a stream; zero is the default and says nothing."""
    asked = [message(raw=RAW, parameters=ENOUGH | {"priority": priority}) for priority in (1, 0)]
    one, none = [given(await kit.stub.ModelInfer(request)) for request in asked]
    assert "priority has no effect" in one["warnings"]
    assert "warnings" not in none
    stream = kit.stub.ModelStreamInfer(iter(asked))
    one, none = [given(response.infer_response) async for response in stream]
    assert "priority has no effect" in one["warnings"]
    assert "warnings" not in none


async def test_limits_are_those_of_http(kit: Kit) -> None:
    """Of images in a batch, of an image, and of the request, for which the library has a limit of its own beyond."""
    large = message(raw=b"x" * REQUEST_BYTES)
    status, metadata, detail = await failure(kit.stub.ModelInfer(large))
    assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "request-too-large")
    assert detail == f"the request has more than {REQUEST_BYTES} bytes"
    too_many = message(shape=(BATCH + 1, 1), raw=lengths([PHOTO] * (BATCH + 1)))
    status, metadata, _ = await failure(kit.stub.ModelInfer(too_many))
    assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "request-too-large")
    too_large = message(raw=lengths([PHOTO + bytes(100_000)]))
    status, metadata, _ = await failure(kit.stub.ModelInfer(too_large))
    assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "image-too-large")


async def test_shared_memory_is_not_supported(kit: Kit) -> None:
    """Said as what it is."""
    asked = message(raw=RAW)
    asked.inputs[0].parameters["shared_memory_region"].string_param = "a"
    status, _, _ = await failure(kit.stub.ModelInfer(asked))
    assert status is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_that_leaves_takes_its_batch_along(kit: Kit) -> None:
    """Every image has an outcome, and nothing stays in the queue."""
    call = kit.stub.ModelInfer(message(shape=(BATCH, 1), raw=lengths([PHOTO] * BATCH)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(60):
        while (now := kit.dataplane.health().statistics).waiting + now.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_statistics_are_those_of_http(kit: Kit) -> None:
    """The same figures."""
    await kit.stub.ModelInfer(message(raw=RAW, model="b0"))
    (over_grpc,) = (await kit.stub.ModelStatistics(pb.ModelStatisticsRequest(name="b0"))).model_stats
    (over_http,) = (await kit.http.get("/v2/models/b0/stats")).json()["model_stats"]
    assert over_grpc.inference_stats.success.ns == over_http["inference_stats"]["success"]["ns"] > 0
    assert over_grpc.last_inference == over_http["last_inference"]
    everything = await kit.stub.ModelStatistics(pb.ModelStatisticsRequest())
    assert [one.name for one in everything.model_stats] == ["b0", "b1", "efficientnet"]
