"""`/v2`: what is said of models, how outputs are chosen, which budget counts, and what is refused. On real sockets."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from service import __version__
from tests.contract.grpc_kit import BATCH, IMAGE_BYTES, REQUEST_BYTES
from tests.contract.oip_kit import ENOUGH, LENGTH, Kit, document, in_binary, lengths, scores, serving
from tests.fixtures import CLASSES, jpeg, tiny_store, write_variant

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = jpeg(160, 120)
INFER = "/v2/models/efficientnet/infer"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained variants, one of them in its third version, and a damaged one."""
    folder = tmp_path_factory.mktemp("store")
    write_variant(folder, "b0", version=3)
    write_variant(folder, "b1")
    (write_variant(folder, "b2") / "model.onnx").write_bytes(b"damaged")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(store: Path) -> AsyncIterator[Kit]:
    """Servers over the store, for all tests: starting them takes longer than most of these."""
    async with serving(store) as made:
        yield made


@pytest.fixture
def kit(running: Kit) -> Kit:
    """Ready, and nothing has been seen yet."""
    running.dataplane.ready = True
    running.seen.events.clear()
    return running


async def told(kit: Kit, path: str) -> Any:  # noqa: ANN401
    """A document that must be there."""
    return (await kit.http.get(f"/v2{path}")).raise_for_status().json()


async def refused(response: httpx.Response, status: int, kind: str) -> str:
    """The sentence of a failure in the protocol's form."""
    assert (response.status_code, response.headers.get("effserve-error-kind")) == (status, kind)
    (name,) = response.json()
    assert name == "error"
    sentence: str = response.json()["error"]
    return sentence


async def test_the_server_tells_its_name_and_extensions(kit: Kit) -> None:
    """With and without a slash."""
    said = await told(kit, "")
    assert (said["name"], said["version"]) == ("effserve", __version__)
    assert {"binary_tensor_data", "classification", "statistics", "model_repository"} <= set(said["extensions"])
    assert "trace" not in said["extensions"]
    assert await told(kit, "/") == said


async def test_readiness_follows_the_service(kit: Kit) -> None:
    """Of the server and of each model; liveness does not."""
    assert await told(kit, "/health/ready") == {"ready": True}
    assert await told(kit, "/models/b0/versions/3/ready") == {"name": "b0", "ready": True}
    kit.dataplane.ready = False
    assert (await kit.http.get("/v2/health/ready")).status_code == 503
    assert (await kit.http.get("/v2/models/b0/ready")).status_code == 503
    assert await told(kit, "/health/live") == {"live": True}


async def test_a_variant_takes_pixels_of_its_size(kit: Kit) -> None:
    """Metadata and configuration agree."""
    said, config = await told(kit, "/models/b0"), await told(kit, "/models/b0/config")
    assert said["versions"] == ["3"]
    assert said["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    assert [one["shape"] for one in said["outputs"]] == [[-1, CLASSES]] * 2
    assert config["max_batch_size"] == BATCH
    (taken,) = config["input"]
    assert taken == {"name": "image", "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC", "dims": [32, 32, 3]}
    assert config["parameters"]["crop_pct"] == {"string_value": "0.875"}
    assert config["parameters"]["routed"] == {"string_value": "yes"}


async def test_the_routed_model_takes_files(kit: Kit) -> None:
    """It has no size of its own."""
    said = await told(kit, "/models/efficientnet/versions/1")
    assert said["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}]
    assert await told(kit, "/models") == {"models": ["b0", "b1", "efficientnet"]}


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/stats"])
@pytest.mark.parametrize("model", ["b9", "b0/versions/1", "efficientnet/versions/2"])
async def test_what_is_not_served_is_not_found(kit: Kit, model: str, path: str) -> None:
    """Neither names nor versions; the sentence says what there is."""
    sentence = await refused(await kit.http.get(f"/v2/models/{model}{path}"), 404, "unknown-variant")
    assert "there are b0, b1, efficientnet" in sentence or "is served in version" in sentence


async def test_the_index_lists_the_store(kit: Kit) -> None:
    """With what is refused and why, unless only what answers is asked for."""
    found = (await kit.http.post("/v2/repository/index")).raise_for_status().json()
    assert {one["name"]: one["state"] for one in found} == {
        "b0": "READY", "b1": "READY", "efficientnet": "READY", "b2": "UNAVAILABLE",
    }  # fmt: skip
    assert "checksum" in next(one["reason"] for one in found if one["name"] == "b2")
    ready = (await kit.http.post("/v2/repository/index", json={"ready": True})).json()
    assert [one["name"] for one in ready] == ["b0", "b1", "efficientnet"]


@pytest.mark.parametrize("verb", ["load", "unload"])
async def test_models_are_changed_only_where_the_operator_allows_it(kit: Kit, verb: str) -> None:
    """The sentence names the setting."""
    sentence = await refused(await kit.http.post(f"/v2/repository/models/b0/{verb}"), 403, "changes-forbidden")
    assert "store.changes is `none`" in sentence


async def test_the_decision_comes_with_the_response(kit: Kit) -> None:
    """Variant, reason and times; the client's id comes back."""
    response = await kit.post(document([PHOTO], id="mine"))
    answer = response.raise_for_status().json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("efficientnet", "1", "mine")
    said = answer["parameters"]
    assert (said["variant"], said["reason"], said["budget_ms"], said["budget_met"]) == (
        "b1", "most_accurate_that_fits", 60_000, True,
    )  # fmt: skip
    assert said["total_ms"] >= said["queue_ms"] + said["decode_ms"] + said["inference_ms"]
    assert response.headers["X-Request-Id"] == "mine"
    assert response.headers["X-Model-Variant"] == "b1"


async def test_a_variants_own_name_is_that_variant(kit: Kit) -> None:
    """And its version is the store's."""
    answer = (await kit.post(document([PHOTO]), "b0/versions/3")).raise_for_status().json()
    assert (answer["model_version"], answer["parameters"]["reason"]) == ("3", "named_by_request")


async def test_a_batch_tells_of_each_image(kit: Kit) -> None:
    """Each is a job of its own."""
    answer = (await kit.post(document([PHOTO] * 3, id="three"))).raise_for_status().json()
    assert answer["parameters"]["variant"] == "b1,b1,b1"
    assert {event.answer.request_id for event in kit.seen.answered} == {"three-1", "three-2", "three-3"}
    assert answer["outputs"][0]["shape"] == [3, CLASSES]


async def test_untrained_weights_come_with_a_warning(tmp_path: Path) -> None:
    """As on every protocol."""
    async with serving(tiny_store(tmp_path, trained=False), routing={"route_untrained": True}) as kit:
        answer = (await kit.post(document([PHOTO]))).raise_for_status().json()
    assert "untrained" in answer["parameters"]["warnings"]


@pytest.mark.parametrize("output", ["logits", "probabilities"])
async def test_classes_as_text(kit: Kit, output: str) -> None:
    """Value, index and label, the most probable first, in place of the tensor; a row an image."""
    wanted = [{"name": output, "parameters": {"classification": 2}}]
    answer = (await kit.post(document([PHOTO, PHOTO], outputs=wanted))).raise_for_status().json()
    (found,) = answer["outputs"]
    assert (found["datatype"], found["shape"]) == ("BYTES", [2, 2])
    values = np.frombuffer(scores(await kit.post(document([PHOTO])))[output], np.float32)
    order = np.argsort(-values)[:2]
    assert found["data"] == [f"{values[index]:f}:{index}:class {index}" for index in order] * 2


async def test_classes_as_text_can_be_binary(kit: Kit) -> None:
    """Each element after its length."""
    wanted = [{"name": "logits", "parameters": {"classification": 1, "binary_data": True}}]
    response = await kit.post(document([PHOTO], outputs=wanted))
    head = json.loads(response.content[: int(response.headers[LENGTH])])
    tail = response.content[int(response.headers[LENGTH]) :]
    assert head["outputs"][0]["parameters"] == {"binary_data_size": len(tail)}
    assert int.from_bytes(tail[:4], "little") == len(tail) - 4


async def test_outputs_choose_for_themselves(kit: Kit) -> None:
    """One in JSON among binary ones."""
    wanted = [{"name": "probabilities", "parameters": {"binary_data": False}}, {"name": "logits"}]
    parameters = ENOUGH | {"binary_data_output": True}
    response = await kit.post(document([PHOTO], outputs=wanted, parameters=parameters))
    head = json.loads(response.content[: int(response.headers[LENGTH])])
    assert [sorted(one) for one in head["outputs"]] == [
        ["data", "datatype", "name", "shape"], ["datatype", "name", "parameters", "shape"],
    ]  # fmt: skip


BUDGETS: list[tuple[dict[str, Any], dict[str, str], float]] = [
    ({"budget_ms": 5000, "timeout": 7_000_000}, {"X-Latency-Budget-Ms": "6000"}, 5000),
    ({"timeout": 7_000_000}, {"X-Latency-Budget-Ms": "6000"}, 6000),
    ({"timeout": 7_000_000}, {}, 7000),
    ({"timeout": 0}, {}, 100),
    ({}, {}, 100),
]
"""Parameters, headers, and the budget that counts: the parameter before the header before the timeout."""


@pytest.mark.parametrize(("parameters", "headers", "budget_ms"), BUDGETS)
async def test_where_the_budget_comes_from(
    kit: Kit, parameters: dict[str, Any], headers: dict[str, str], budget_ms: float
) -> None:
    """And the server's default when nobody says."""
    response = await kit.post(document([PHOTO], parameters=parameters), **headers)
    assert response.raise_for_status().json()["parameters"]["budget_ms"] == budget_ms


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress])
async def test_bodies_may_be_compressed(kit: Kit, encode: Any) -> None:  # noqa: ANN401
    """As Triton's clients can."""
    body, headers = in_binary(lengths([PHOTO]), "BYTES", [1])
    headers |= {"Content-Encoding": "gzip" if encode is gzip.compress else "deflate"}
    assert scores(await kit.http.post(INFER, content=encode(body), headers=headers))


async def test_the_limit_holds_after_decompression(kit: Kit) -> None:
    """A bomb of zeros is not unpacked further than that."""
    bomb = gzip.compress(bytes(50 * REQUEST_BYTES))
    response = await kit.http.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
    await refused(response, 413, "request-too-large")


async def test_a_body_in_chunks_is_a_body(kit: Kit) -> None:
    """HTTP/1.1 without a content length."""
    body, headers = in_binary(lengths([PHOTO]), "BYTES", [1])

    async def chunks() -> AsyncIterator[bytes]:
        for begin in range(0, len(body), 1000):
            yield body[begin : begin + 1000]

    assert scores(await kit.http.post(INFER, content=chunks(), headers=headers))


async def test_statistics_add_up(store: Path) -> None:
    """By variant, and for the routed model what named none; failures where it is known whose they are."""
    async with serving(store) as kit:
        await kit.post(document([PHOTO, PHOTO]))
        await kit.post(document([PHOTO]), "b1")
        await kit.post(document([b"no image"]), "b0")
        await kit.post(document([PHOTO]), "b9")
        all_of_them = {one["name"]: one for one in (await told(kit, "/models/stats"))["model_stats"]}
        assert (await told(kit, "/models/b1/versions/1/stats"))["model_stats"] == [all_of_them["b1"]]
    counts = {name: one["inference_stats"]["success"]["count"] for name, one in all_of_them.items()}
    assert counts == {"b0": 0, "b1": 3, "efficientnet": 2}
    assert {name: one["inference_stats"]["fail"]["count"] for name, one in all_of_them.items()} == {
        "b0": 1, "b1": 0, "efficientnet": 0,
    }  # fmt: skip
    b1 = all_of_them["b1"]
    stages = b1["inference_stats"]
    parts = sum(stages[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert 0 < parts <= stages["success"]["ns"]
    assert b1["inference_count"] == b1["execution_count"] == stages["queue"]["count"] == 3


def changed(**fields: object) -> dict[str, Any]:
    """A request whose tensor has other fields."""
    asked = document([PHOTO])
    asked["inputs"][0].update(fields)
    return {**asked, "inputs": [{name: value for name, value in asked["inputs"][0].items() if value is not None}]}


MALFORMED: dict[str, Any] = {
    "no inputs": {"inputs": []},
    "two inputs": {"inputs": document([PHOTO])["inputs"] * 2},
    "inputs of another kind": {"inputs": 5},
    "another input": changed(name="pixels"),
    "another datatype": changed(datatype="INT64"),
    "more images announced than sent": changed(shape=[2]),
    "no images": changed(shape=[0], data=[]),
    "a third axis": changed(shape=[1, 1, 1]),
    "a negative axis": changed(shape=[-1]),
    "no base64": changed(data=["?"]),
    "a number for an image": changed(data=[5]),
    "no data": changed(data=None),
    "data twice": changed(parameters={"binary_data_size": 0}),
    "more binary data than there is": changed(data=None, parameters={"binary_data_size": 5}),
    "negative binary data": changed(data=None, parameters={"binary_data_size": -1}),
    "too few pixels": changed(datatype="UINT8", shape=[1, 2, 2, 3], data=[0] * 11),
    "pixels above 255": changed(datatype="UINT8", shape=[1, 1, 1, 3], data=[0, 0, 256]),
    "fractions of levels": changed(datatype="UINT8", shape=[1, 1, 1, 3], data=[0, 0, 0.5]),
    "words for pixels": changed(datatype="FP32", shape=[1, 1, 1, 3], data=["1", "2", "3"]),
    "uneven nesting": changed(datatype="FP32", shape=[1, 1, 1, 3], data=[[1], [2, 3]]),
    "other nesting than the shape": changed(datatype="FP32", shape=[1, 1, 1, 3], data=[[1, 2, 3]]),
    "four channels": changed(datatype="UINT8", shape=[1, 1, 1, 4], data=[0] * 4),
    "another output": document([PHOTO], outputs=[{"name": "labels"}]),
    "an output twice": document([PHOTO], outputs=[{"name": "logits"}] * 2),
    "a negative number of classes": document(
        [PHOTO], outputs=[{"name": "logits", "parameters": {"classification": -1}}]
    ),
    "classes in words": document([PHOTO], outputs=[{"name": "logits", "parameters": {"classification": "5"}}]),
    "a flag that is none": document([PHOTO], outputs=[{"name": "logits", "parameters": {"binary_data": 1}}]),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_breaks_the_protocol_is_named(kit: Kit, name: str) -> None:
    """400, a sentence, and nothing ran."""
    assert await refused(await kit.post(MALFORMED[name]), 400, "malformed-request")
    assert kit.seen.answered == []
    assert len(kit.seen.failed) == 1


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"budget_ms": -1}, "budget_ms"),
        ({"budget_ms": "soon"}, "budget_ms"),
        ({"timeout": -5}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"budget_sm": 5}, "budget_sm"),
        ({"sequence_id": 5}, "sequence_id"),
        ({"mode": "loose"}, "mode"),
        ({"budget_ms": True}, "budget_ms"),
        ({"min_accuracy": False}, "min_accuracy"),
        ({"timeout": 10**400}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"priority": -1}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"priority": True}, "priority"),
    ],
)
async def test_a_wrong_parameter_is_named(kit: Kit, parameters: dict[str, Any], name: str) -> None:
    """The protocol has 400 for it."""
    sentence = await refused(await kit.post(document([PHOTO], parameters=parameters)), 400, "invalid-parameter")
    assert sentence.startswith(name)


async def test_another_variant_than_the_models_is_refused(kit: Kit) -> None:
    """The routed model takes the parameter."""
    asked = document([PHOTO], parameters={"variant": "b0", **ENOUGH})
    await refused(await kit.post(asked, "b1"), 400, "invalid-parameter")
    assert (await kit.post(asked)).json()["parameters"]["variant"] == "b0"


async def test_normalised_pixels_are_refused(kit: Kit) -> None:
    """Negative values cannot be levels."""
    asked = document([-0.5, 0.0, 1.0], "FP32", [1, 1, 1, 3])
    assert "normalised" in await refused(await kit.post(asked), 400, "invalid-parameter")


async def test_priorities_have_no_effect_and_that_is_said(kit: Kit) -> None:
    """Zero is the default and says nothing."""
    said = (await kit.post(document([PHOTO], parameters=ENOUGH | {"priority": 1}))).json()["parameters"]
    assert "priority has no effect" in said["warnings"]
    silent = (await kit.post(document([PHOTO], parameters=ENOUGH | {"priority": 0}))).json()["parameters"]
    assert "warnings" not in silent


async def test_shared_memory_is_not_supported(kit: Kit) -> None:
    """Nor does the server say that it is."""
    asked = changed(data=None, parameters={"shared_memory_region": "a", "shared_memory_byte_size": 5})
    await refused(await kit.post(asked), 501, "unsupported")


async def test_a_large_batch_is_refused(kit: Kit) -> None:
    """The sentence names the limit."""
    sentence = await refused(await kit.post(document([PHOTO] * (BATCH + 1))), 413, "request-too-large")
    assert "limits.batch" in sentence


async def test_a_large_image_in_a_batch_is_refused(kit: Kit) -> None:
    """By its place."""
    asked = document([PHOTO, PHOTO + bytes(IMAGE_BYTES)])
    assert "image 2 of 2" in await refused(await kit.post(asked), 413, "image-too-large")


@pytest.mark.parametrize("verb", ["load", "unload"])
async def test_a_change_that_nobody_may_make_is_not_read(kit: Kit, verb: str) -> None:
    """However large it is."""
    response = await kit.http.post(f"/v2/repository/models/b0/{verb}", content=b" " * 65_537)
    await refused(response, 403, "changes-forbidden")


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
async def test_a_picture_without_pixels_is_empty(kit: Kit, datatype: str) -> None:
    """In JSON as in binary."""
    binary, headers = in_binary(b"", datatype, [1, 0, 5, 3])
    for response in (
        await kit.post(document([], datatype, [1, 0, 5, 3])),
        await kit.http.post(INFER, content=binary, headers=headers),
    ):
        assert await refused(response, 400, "empty-image") == "the image has no pixels"


async def test_a_large_request_is_refused(kit: Kit) -> None:
    """Before it is whole."""
    await refused(await kit.http.post(INFER, content=bytes(REQUEST_BYTES + 1)), 413, "request-too-large")


async def test_a_bad_image_fails_its_batch(kit: Kit) -> None:
    """All or nothing; each image has one outcome."""
    response = await kit.post(document([PHOTO, b"no image", PHOTO]))
    assert "image 2 of 3" in await refused(response, 400, "undecodable-image")
    assert len(kit.seen.failed) + len(kit.seen.answered) == 3


@pytest.mark.parametrize("body", [b"{", b"[1]", b"", b'{"inputs": ' + b"[" * 100_000, b"\xff\xfe"])
async def test_json_that_is_none_is_malformed(kit: Kit, body: bytes) -> None:
    """However deep it goes."""
    await refused(await kit.http.post(INFER, content=body), 400, "malformed-request")


@pytest.mark.parametrize("length", ["-1", "1e3", "999999", "x", "5_0"])
async def test_a_header_length_beyond_the_body_is_malformed(kit: Kit, length: str) -> None:
    """Or one that is no number."""
    body, _ = in_binary(lengths([PHOTO]), "BYTES", [1])
    await refused(await kit.http.post(INFER, content=body, headers={LENGTH: length}), 400, "malformed-request")


@pytest.mark.parametrize("raw", [b"\x05", b"\x05\x00\x00\x00abcd", lengths([PHOTO, PHOTO])])
async def test_binary_elements_must_add_up(kit: Kit, raw: bytes) -> None:
    """One is announced."""
    body, headers = in_binary(raw, "BYTES", [1])
    await refused(await kit.http.post(INFER, content=body, headers=headers), 400, "malformed-request")


async def test_bytes_behind_the_last_tensor_are_malformed(kit: Kit) -> None:
    """Nobody knows whose they are."""
    body, headers = in_binary(lengths([PHOTO]), "BYTES", [1])
    await refused(await kit.http.post(INFER, content=body + b"?", headers=headers), 400, "malformed-request")


async def test_other_paths_are_not_found_in_the_protocols_form(kit: Kit) -> None:
    """Elsewhere they are problems."""
    await refused(await kit.http.get("/v2/systemsharedmemory/status"), 404, "not-found")
    await refused(await kit.http.get(INFER), 405, "method-not-allowed")
    assert (await kit.http.get("/nothing")).json()["type"] == "/problems/not-found"


async def test_variants_of_different_classes_are_not_stacked(tmp_path: Path) -> None:
    """The routed model then takes one image at a time, and does not promise a number of classes."""
    write_variant(tmp_path, "b0", classes=10)
    write_variant(tmp_path, "b1", classes=7)
    async with serving(tmp_path) as kit:
        assert (await told(kit, "/models/efficientnet/config"))["max_batch_size"] == 1
        assert (await told(kit, "/models/efficientnet"))["outputs"][0]["shape"] == [-1, -1]
        await refused(await kit.post(document([PHOTO, PHOTO])), 413, "request-too-large")
        assert (await kit.post(document([PHOTO]))).json()["outputs"][0]["shape"] == [1, 7]
        assert (await kit.post(document([PHOTO, PHOTO]), "b0")).json()["outputs"][0]["shape"] == [2, 10]


async def test_a_variant_with_the_routed_models_name_is_behind_it(tmp_path: Path) -> None:
    """The parameter reaches it."""
    write_variant(tmp_path, "b0")
    write_variant(tmp_path, "efficientnet", top1=0.1, resolution=64)
    async with serving(tmp_path) as kit:
        assert (await told(kit, "/models"))["models"] == ["b0", "efficientnet"]
        by_budget = (await kit.post(document([PHOTO]))).json()["parameters"]
        by_name = (await kit.post(document([PHOTO], parameters=ENOUGH | {"variant": "efficientnet"}))).json()
    assert (by_budget["variant"], by_name["parameters"]["variant"]) == ("b0", "efficientnet")


async def test_a_budget_in_the_query_is_refused_and_not_lost(kit: Kit) -> None:
    """It works elsewhere, so somebody will try."""
    sent = await kit.http.post("/v2/models/efficientnet/infer?budget_ms=50", content=PHOTO, headers={LENGTH: "0"})
    assert sent.status_code == 400
    assert "budget_ms: here a query has no meaning" in sent.json()["error"]


async def test_a_file_without_the_header_that_says_so_is_answered_with_it(kit: Kit) -> None:
    """It is no JSON, and its sender has to know what to add."""
    sent = await kit.http.post("/v2/models/efficientnet/infer", content=PHOTO)
    assert sent.status_code == 400
    assert f"for a file as the whole body send `{LENGTH}: 0`" in sent.json()["error"]
