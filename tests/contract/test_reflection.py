"""A client that knows nothing but reflection can list, describe and call everything: what grpcurl and its likes do."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format

from service.wire import classifier_pb2, grpc_inference_pb2
from tests.conformance.reflected import Reflected, play, reflected
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import Server, serving

PHOTO = base64.b64encode(jpeg(160, 120)).decode()
SERVICES = [
    "effserve.v1.Classifier", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
]  # fmt: skip
README = (Path(__file__).resolve().parents[2] / "proto" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two trained variants."""
    folder = tmp_path_factory.mktemp("reflection")
    (folder / "cat.jpg").write_bytes(jpeg(160, 120))
    with serving(tiny_store(folder / "store"), folder) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Reflected]:
    """Of the server."""
    with reflected(f"127.0.0.1:{server.grpc_port}") as made:
        yield made


def test_services_are_listed(client: Reflected) -> None:
    """Ours, the protocol's, health and reflection itself."""
    assert client.services() == SERVICES


@pytest.mark.parametrize("module", [classifier_pb2, grpc_inference_pb2])
def test_every_method_and_message_is_described(client: Reflected, module: object) -> None:
    """By the names of the contract."""
    file = module.DESCRIPTOR  # type: ignore[attr-defined]
    for name, service in file.services_by_name.items():
        assert client.methods(f"{file.package}.{name}") == [method.full_name for method in service.methods]
    for message in file.message_types_by_name.values():
        assert client.describe(message.full_name).endswith(f" {message.full_name}")


def test_a_photo_is_classified(client: Reflected) -> None:
    """From JSON, in which bytes are base64."""
    asked = json.dumps({"image": PHOTO, "budget_ms": 60_000, "mode": "MODE_STRICT"})
    (answer,) = client.call("effserve.v1.Classifier/Classify", asked)
    assert answer["decision"]["variant"] == "b1"


def test_a_stream_comes_answer_by_answer(client: Reflected) -> None:
    """The last one is final."""
    asked = json.dumps({"image": PHOTO, "budget_ms": 60_000})
    answers = list(client.call("effserve.v1.Classifier/ClassifyAnytime", asked))
    assert [(one["decision"]["variant"], one.get("final", False)) for one in answers] == [("b0", False), ("b1", True)]


def test_the_protocols_inference(client: Reflected) -> None:
    """Parameters, tensor and contents."""
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "contents": {"bytes_contents": [PHOTO]}}
    asked = {
        "model_name": "efficientnet",
        "parameters": {"budget_ms": {"int64_param": "60000"}},
        "inputs": [tensor],
        "outputs": [{"name": "probabilities", "parameters": {"classification": {"int64_param": "2"}}}],
    }
    (answer,) = client.call("inference.GRPCInferenceService/ModelInfer", json.dumps(asked))
    assert answer["parameters"]["variant"] == {"stringParam": "b1"}
    assert answer["outputs"][0]["shape"] == ["1", "2"]


def test_a_failure_and_a_field_that_is_not_there(client: Reflected) -> None:
    """One is the server's, the other the schema's."""
    with pytest.raises(grpc.RpcError) as caught:
        list(client.call("effserve.v1.Classifier/Plan", '{"variant": "b9"}'))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(json_format.ParseError):
        list(client.call("effserve.v1.Classifier/Plan", '{"budget": 40}'))


@pytest.mark.parametrize("line", [one.strip() for one in README.splitlines() if one.startswith("    grpcurl")])
def test_the_examples_of_the_contract_work(server: Server, line: str) -> None:
    """As they stand in proto/README.md."""
    here = line.replace("localhost:9000", f"127.0.0.1:{server.grpc_port}")
    assert play(here.replace("$(base64 -w0 cat.jpg)", PHOTO))
