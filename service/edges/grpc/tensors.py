"""Messages of the Open Inference Protocol ↔ its requests and responses. Nothing here knows of a call."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from service.core.errors import EffserveError, ErrorKind
from service.edges.oip.messages import InferRequest, InferResponse, InputTensor, Parameter, WantedOutput
from service.edges.oip.tensors import binary, malformed
from service.wire import grpc_inference_pb2 as pb

CONTENTS = {"BYTES": "bytes_contents", "UINT8": "uint_contents", "FP32": "fp32_contents"}
"""The field that holds a datatype's elements."""


def infer_request(message: pb.ModelInferRequest) -> InferRequest:
    """Raises `EffserveError(MALFORMED_REQUEST | UNSUPPORTED)`."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise malformed(f"raw_input_contents has {len(raw)} entries for {len(message.inputs)} inputs")
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        parameters={name: _value(name, parameter) for name, parameter in message.parameters.items()},
        inputs=[_input(given, raw[number] if raw else None) for number, given in enumerate(message.inputs)],
        outputs=[_wanted(output) for output in message.outputs],
    )


def change_parameters(given: "Mapping[str, pb.ModelRepositoryParameter]") -> dict[str, object]:
    """Of loading and unloading. Raises `EffserveError(MALFORMED_REQUEST)`."""
    return {name: _value(name, parameter) for name, parameter in given.items()}


def infer_response(response: InferResponse) -> pb.ModelInferResponse:
    """With the outputs as raw contents."""
    outputs = (
        pb.ModelInferResponse.InferOutputTensor(name=output.name, datatype=output.datatype, shape=output.shape)
        for output in response.outputs
    )
    return pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        parameters={name: _parameter(value) for name, value in response.parameters.items()},
        outputs=outputs,
        raw_output_contents=(binary(output.data) for output in response.outputs),
    )


def _input(given: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> InputTensor:
    _no_shared_memory(given.name, given.parameters)
    if raw is not None and given.HasField("contents"):
        raise malformed(f"input {given.name[:64]!r} has contents beside raw_input_contents")
    data = _elements(given) if raw is None else raw
    return InputTensor(given.name, given.datatype, tuple(given.shape), data)


def _elements(given: pb.ModelInferRequest.InferInputTensor) -> bytes | Sequence[bytes]:
    field = CONTENTS.get(given.datatype)
    others = [other.name for other, _ in given.contents.ListFields() if other.name != field]
    if field is not None and others:
        raise malformed(f"input {given.name[:64]!r} of datatype {given.datatype} has {others[0]}, not {field}")
    if field is not None:
        _check_count(given, len(getattr(given.contents, field)))
    if given.datatype == "FP32":
        return np.array(given.contents.fp32_contents, "<f4").tobytes()
    if given.datatype == "UINT8":
        values = np.array(given.contents.uint_contents, np.uint32)
        if (values > 255).any():
            raise malformed(f"input {given.name[:64]!r} of datatype UINT8 has values above 255")
        return values.astype(np.uint8).tobytes()
    return given.contents.bytes_contents


def _check_count(given: pb.ModelInferRequest.InferInputTensor, elements: int) -> None:
    """Before they become Python's, each of many times its size."""
    if elements != math.prod(given.shape):
        raise malformed(f"{given.name[:64]!r} has shape {list(given.shape[:8])} and {elements} elements")


def _wanted(output: pb.ModelInferRequest.InferRequestedOutputTensor) -> WantedOutput:
    _no_shared_memory(output.name, output.parameters)
    if "classification" not in output.parameters:
        return WantedOutput(output.name)
    value = _value("classification", output.parameters["classification"])
    if isinstance(value, bool) or not isinstance(value, int):
        raise malformed(f"classification of {output.name[:64]!r} is not a number of classes")
    return WantedOutput(output.name, value)


def _no_shared_memory(tensor: str, parameters: "object") -> None:
    if "shared_memory_region" in parameters:  # type: ignore[operator]
        detail = f"{tensor[:64]!r} is in shared memory, which is not supported; send it with the request"
        raise EffserveError(ErrorKind.UNSUPPORTED, detail)


def _value(name: str, parameter: pb.InferParameter | pb.ModelRepositoryParameter) -> Parameter:
    choice = parameter.WhichOneof("parameter_choice")
    if choice is None:
        raise malformed(f"parameter {name[:64]!r} has no value")
    value: Parameter = getattr(parameter, choice)
    return value


def _parameter(value: Parameter) -> pb.InferParameter:
    if isinstance(value, bool):
        return pb.InferParameter(bool_param=value)
    if isinstance(value, int):
        return pb.InferParameter(int64_param=value)
    return pb.InferParameter(double_param=value) if isinstance(value, float) else pb.InferParameter(string_param=value)
