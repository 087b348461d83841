"""The messages of `inference.GRPCInferenceService` have the numbers of the protocol's own file.

From `specification/protocol/open_inference_grpc.proto` of kserve/open-inference-protocol (Apache-2.0): fields in the
order of their numbers, which have no gaps there. What Triton adds is compared with its client, where that is installed.
"""

import pytest

from service.wire import grpc_inference_pb2 as pb

FIELDS = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready",
    "ModelReadyRequest": "name version",
    "ModelReadyResponse": "ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name version extensions",
    "ModelMetadataRequest": "name version",
    "ModelMetadataResponse": "name versions platform inputs outputs",
    "ModelMetadataResponse.TensorMetadata": "name datatype shape",
    "ModelInferRequest": "model_name model_version id parameters inputs outputs raw_input_contents",
    "ModelInferRequest.InferInputTensor": "name datatype shape parameters contents",
    "ModelInferRequest.InferRequestedOutputTensor": "name parameters",
    "ModelInferResponse": "model_name model_version id parameters outputs raw_output_contents",
    "ModelInferResponse.InferOutputTensor": "name datatype shape parameters contents",
    "InferParameter": "bool_param int64_param string_param double_param uint64_param",
    "InferTensorContents": "bool_contents int_contents int64_contents uint_contents uint64_contents fp32_contents "
    "fp64_contents bytes_contents",
}
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


@pytest.mark.parametrize("message", FIELDS)
def test_fields_have_the_protocols_numbers(message: str) -> None:
    """All of them, from 1 on; there may be more."""
    outer, _, inner = message.partition(".")
    found = pb.DESCRIPTOR.message_types_by_name[outer]
    fields = (found.nested_types_by_name[inner] if inner else found).fields_by_name
    assert {name: fields[name].number for name in FIELDS[message].split()} == {
        name: number for number, name in enumerate(FIELDS[message].split(), start=1)
    }


@pytest.mark.parametrize("method", METHODS)
def test_methods_take_and_give_the_protocols_messages(method: str) -> None:
    """By the package's name."""
    found = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[method]
    assert (found.input_type.full_name, found.output_type.full_name) == (
        f"inference.{method}Request", f"inference.{method}Response",
    )  # fmt: skip
