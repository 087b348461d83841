"""Requests of the Open Inference Protocol in JSON, with or without binary tensors behind it, and responses.

In JSON, an element of a BYTES tensor is the base64 of an encoded image. With `Inference-Header-Content-Length: 0` the
body is one encoded image and nothing else.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from service.core.errors import EffserveError, ErrorKind
from service.edges.http.json_faults import fault
from service.edges.oip.messages import InferRequest, InferResponse, InputTensor, OutputTensor, Parameter, WantedOutput
from service.edges.oip.tensors import INPUT, ITEM_BYTES, binary, malformed

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
MOST_AXES = 8

_Parameters = dict[str, StrictBool | StrictInt | StrictFloat | StrictStr]


class _Input(BaseModel):
    name: str
    shape: list[StrictInt] = Field(max_length=MOST_AXES)
    datatype: str
    parameters: _Parameters = {}
    data: list[Any] | None = None


class _Output(BaseModel):
    name: str
    parameters: _Parameters = {}


class Request(BaseModel):
    """A request in JSON."""

    id: str = ""
    parameters: _Parameters = {}
    inputs: list[_Input]
    outputs: list[_Output] = []


@dataclass(frozen=True, slots=True)
class Received:
    """A request, and how its outputs are to be sent."""

    request: InferRequest
    binary: frozenset[str]
    """Outputs that were named with a choice, and shall be binary."""
    text: frozenset[str]
    """Outputs that were named with a choice, and shall be JSON."""
    binary_by_default: bool

    def wants_binary(self, output: str) -> bool:
        """How to send this one."""
        return output in self.binary or (self.binary_by_default and output not in self.text)


def parsed(body: bytes, json_length: str | None, model: str, version: str) -> Received:
    """The request in a body. Raises `EffserveError(MALFORMED_REQUEST | UNSUPPORTED)`."""
    if json_length is None:
        return _received(body, memoryview(b""), model, version)
    length = json_bytes(json_length, body)
    if length == 0:
        image = InputTensor(INPUT, "BYTES", (1, 1), [body])
        return Received(
            InferRequest(model, version, "", {}, [image]), frozenset(), frozenset(), binary_by_default=False
        )
    return _received(body[:length], memoryview(body)[length:], model, version)


def json_bytes(json_length: str, body: bytes) -> int:
    """What the header says of the body. Raises `EffserveError(MALFORMED_REQUEST)`."""
    # Not `int` at once: it would also take signs, spaces and underscores.
    if not (json_length.isascii() and json_length.isdigit()) or int(json_length[:20]) > len(body):
        raise malformed(f"{JSON_LENGTH_HEADER} is {json_length[:40]!r}; the body has {len(body)} bytes")
    return int(json_length[:20])


def rendered(response: InferResponse, received: Received) -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    tail = [binary(output.data) for output in response.outputs if received.wants_binary(output.name)]
    sizes = iter(tail)
    outputs = [
        _binary_output(output, len(next(sizes))) if received.wants_binary(output.name) else _json_output(output)
        for output in response.outputs
    ]
    document = {"model_name": response.model, "model_version": response.version, "parameters": response.parameters}
    document |= {"id": response.id} if response.id else {}
    head = json.dumps(document | {"outputs": outputs}, separators=(",", ":")).encode()
    if not tail:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH_HEADER: str(len(head))}
    return b"".join((head, *tail)), headers


def _received(text: bytes, tail: memoryview, model: str, version: str) -> Received:
    try:
        request = Request.model_validate_json(text)
    except ValidationError as error:
        place, words = fault(error)
        # Who sends a file as the whole body has to say so.
        hint = (
            ""
            if place or text.lstrip()[:1] == b"{"
            else f"; for a file as the whole body send `{JSON_LENGTH_HEADER}: 0`"
        )
        raise malformed(f"{place or 'the body'} {words}{hint}") from None
    inputs, left = [], tail
    for given in request.inputs:
        tensor, left = _tensor(given, left)
        inputs.append(tensor)
    if left:
        raise malformed(f"{len(left)} bytes follow the last tensor")
    return Received(
        InferRequest(model, version, request.id, request.parameters, inputs, [_wanted(one) for one in request.outputs]),
        frozenset(one.name for one in request.outputs if _flag(one.parameters, "binary_data") is True),
        frozenset(one.name for one in request.outputs if _flag(one.parameters, "binary_data") is False),
        binary_by_default=_flag(request.parameters, "binary_data_output") is True,
    )


def _tensor(given: _Input, tail: memoryview) -> tuple[InputTensor, memoryview]:
    """The input, and the binary data that are not its own."""
    _no_shared_memory(given.name, given.parameters)
    size = given.parameters.get("binary_data_size")
    if (size is None) == (given.data is None):
        raise malformed(f"input {given.name[:64]!r} has not exactly one of data and binary_data_size")
    shape = tuple(given.shape)
    if given.data is not None:
        return InputTensor(given.name, given.datatype, shape, _from_json(given, given.data)), tail
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tail):
        raise malformed(f"input {given.name[:64]!r} has binary_data_size {str(size)[:40]}; {len(tail)} bytes follow")
    return InputTensor(given.name, given.datatype, shape, tail[:size]), tail[size:]


def _from_json(given: _Input, data: list[Any]) -> bytes | list[bytes]:
    if given.datatype == "BYTES":
        return [_image(element) for element in _flat(data)]
    if given.datatype not in ITEM_BYTES:
        return b""  # Refused by its datatype, whatever it holds.
    try:
        values = np.asarray(data)
    except ValueError:
        raise malformed(f"the data of {given.name[:64]!r} are nested unevenly, or too deep") from None
    if not values.size:
        return b""
    if values.ndim != 1 and list(values.shape) != given.shape:
        raise malformed(f"the data of {given.name[:64]!r} are nested otherwise than the shape says")
    if given.datatype == "FP32" and values.dtype.kind in "iuf":
        return values.astype("<f4").tobytes()
    if given.datatype == "UINT8" and values.dtype.kind in "iu" and not ((values < 0) | (values > 255)).any():
        return values.astype(np.uint8).tobytes()
    raise malformed(f"the data of {given.name[:64]!r} are not all of datatype {given.datatype[:64]}")


def _flat(data: Iterable[Any]) -> Iterable[Any]:
    for element in data:
        if isinstance(element, list):
            yield from _flat(element)
        else:
            yield element


def _image(element: object) -> bytes:
    if not isinstance(element, str):
        raise malformed("an element of BYTES is a string in JSON: the base64 of an encoded image")
    try:
        return base64.b64decode(element, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed(f"an element of BYTES is not the base64 of an encoded image: {error}") from None


def _wanted(output: _Output) -> WantedOutput:
    _no_shared_memory(output.name, output.parameters)
    return WantedOutput(output.name, classes(output.name, output.parameters.get("classification", 0)))


def classes(output: str, value: Parameter) -> int:
    """What the parameter `classification` asks for. Raises `EffserveError(MALFORMED_REQUEST)`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise malformed(f"classification of {output[:64]!r} is not a number of classes")
    return value


def _no_shared_memory(tensor: str, parameters: _Parameters) -> None:
    if "shared_memory_region" in parameters:
        detail = f"{tensor[:64]!r} is in shared memory, which is not supported; send it with the request"
        raise EffserveError(ErrorKind.UNSUPPORTED, detail)


def _flag(parameters: _Parameters, name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise malformed(f"{name} is not true or false")
    return value


def _binary_output(output: OutputTensor, size_bytes: int) -> dict[str, Any]:
    return _head(output) | {"parameters": {"binary_data_size": size_bytes}}


def _json_output(output: OutputTensor) -> dict[str, Any]:
    data = output.data
    return _head(output) | {
        "data": data.ravel().tolist() if isinstance(data, np.ndarray) else [element.decode() for element in data]
    }


def _head(output: OutputTensor) -> dict[str, Any]:
    return {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
