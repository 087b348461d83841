"""`/v2` in the shape that the protocol's own OpenAPI file gives it.

Written from `specification/protocol/open_inference_rest.yaml` of kserve/open-inference-protocol (Apache-2.0): the same
members, required where they are required there, of the same types and no others. What the file leaves open, such as
further members and parameters, is open here.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ConfigDict

from tests.contract.oip_kit import document
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving

Parameters = dict[str, Any]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class MetadataServerResponse(_Shape):
    """`metadata_server_response`."""

    name: str
    version: str
    extensions: list[str]


class MetadataTensor(_Shape):
    """`metadata_tensor`."""

    name: str
    datatype: str
    shape: list[int]


class MetadataModelResponse(_Shape):
    """`metadata_model_response`."""

    name: str
    platform: str
    versions: list[str] = []
    inputs: list[MetadataTensor] = []
    outputs: list[MetadataTensor] = []


class ResponseOutput(_Shape):
    """`response_output`."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: list[float | int | str | bool]


class InferenceResponse(_Shape):
    """`inference_response`."""

    model_name: str
    outputs: list[ResponseOutput]
    model_version: str = ""
    id: str = ""
    parameters: Parameters = {}


class ErrorResponse(_Shape):
    """`inference_error_response` and its likes."""

    model_config = ConfigDict(extra="forbid")
    error: str


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a server with two variants."""
    folder = tmp_path_factory.mktemp("shape")
    with serving(tiny_store(folder / "store"), folder) as server, connected(server) as made:
        yield made


def connected(server: Server) -> httpx.Client:
    """Patient."""
    return httpx.Client(base_url=server.url, timeout=PATIENCE_S)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/b0/versions/1/ready"])
def test_health_is_a_status(client: httpx.Client, path: str) -> None:
    """200; the document is not the protocol's."""
    assert client.get(path).status_code == 200


def test_the_servers_metadata(client: httpx.Client) -> None:
    """At the path with its slash."""
    MetadataServerResponse.model_validate_json(client.get("/v2/").raise_for_status().content)


@pytest.mark.parametrize("model", ["b0", "b0/versions/1", "efficientnet", "efficientnet/versions/1"])
def test_a_models_metadata(client: httpx.Client, model: str) -> None:
    """With a version and without."""
    said = MetadataModelResponse.model_validate_json(client.get(f"/v2/models/{model}").raise_for_status().content)
    assert said.inputs
    assert said.outputs


@pytest.mark.parametrize("path", ["efficientnet/infer", "b0/versions/1/infer"])
@pytest.mark.parametrize(
    "outputs", [[], [{"name": "logits"}], [{"name": "probabilities", "parameters": {"classification": 2}}]]
)
def test_an_inference(client: httpx.Client, path: str, outputs: list[dict[str, Any]]) -> None:
    """Tensors and text; the id comes back, and each tensor has as many elements as its shape says."""
    asked = document([jpeg(64, 48)], outputs=outputs, id="mine")
    response = client.post(f"/v2/models/{path}", json=asked).raise_for_status()
    said = InferenceResponse.model_validate_json(response.content)
    assert said.id == "mine"
    for output in said.outputs:
        rows, columns = output.shape
        assert len(output.data) == rows * columns


def test_the_examples_of_the_file_are_understood(client: httpx.Client) -> None:
    """Its request, for tensors that no model here has, is read and refused for what it asks, not for how."""
    example = {
        "id": "42",
        "inputs": [
            {"name": "input0", "shape": [2, 2], "datatype": "UINT32", "data": [1, 2, 3, 4]},
            {"name": "input1", "shape": [3], "datatype": "BOOL", "data": [True]},
        ],
        "outputs": [{"name": "output0"}],
    }
    response = client.post("/v2/models/b0/infer", json=example)
    assert response.status_code == 400
    assert "output0" in ErrorResponse.model_validate_json(response.content).error


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v2/models/b9", 404), ("/v2/models/b0/versions/9", 404), ("/v2/models/b9/ready", 404), ("/v2/nowhere", 404)],
)
def test_an_error(client: httpx.Client, path: str, status: int) -> None:
    """One member, one sentence."""
    response = client.get(path)
    assert response.status_code == status
    assert ErrorResponse.model_validate_json(response.content).error


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"inputs": 1}', b'{"inputs": [{"name": "image"}]}'])
def test_a_request_of_another_shape(client: httpx.Client, body: bytes) -> None:
    """400, with the reason."""
    response = client.post("/v2/models/b0/infer", content=body)
    assert response.status_code == 400
    assert ErrorResponse.model_validate_json(response.content).error
