"""How images come as tensors, and scores go.

An image is an element of a BYTES tensor, encoded as a file, or a slice of a UINT8 or FP32 tensor [N, height, width, 3]
in RGB with values from 0 to 255. In binary form a BYTES element follows its length in four bytes, little-endian.
"""

import math
import struct
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from service.core.errors import EffserveError, ErrorKind
from service.core.values import Pixels, Source
from service.edges.oip.messages import InputTensor

INPUT = "image"
CHANNELS = 3
ITEM_BYTES = {"UINT8": 1, "FP32": 4}
_LENGTH = struct.Struct("<I")


def images(tensor: InputTensor, *, size_px: int | None, batch: int) -> list[Source]:
    """The images of the input. Those of `size_px` squared, if that is given, are run as they are.

    Raises `EffserveError(MALFORMED_REQUEST | REQUEST_TOO_LARGE | INVALID_PARAMETER)`.
    """
    if tensor.name != INPUT:
        raise malformed(f"input {tensor.name[:64]!r} is not one of the model's; it has {INPUT!r}")
    if any(axis < 0 for axis in tensor.shape):
        raise malformed(f"the shape {_shown(tensor.shape)} of {INPUT!r} has a negative axis")
    if tensor.datatype == "BYTES":
        return list(_files(tensor, batch))
    if tensor.datatype in ITEM_BYTES:
        return _pictures(tensor, size_px, batch)
    raise malformed(f"{INPUT!r} is of datatype {tensor.datatype[:64]!r}; it can be BYTES, UINT8 or FP32")


def split(data: bytes | memoryview, count: int) -> list[bytes]:
    """The elements of a BYTES tensor in binary form, of which there are to be so many: zeros would make a million empty
    ones of a few megabytes. Raises `EffserveError(MALFORMED_REQUEST)`."""
    elements, at = list[bytes](), 0
    while at < len(data):
        if len(elements) == count:
            raise malformed(f"{len(data) - at} bytes follow the last element of {count}")
        if len(data) - at < _LENGTH.size:
            raise malformed("a BYTES tensor ends within the length of an element")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if len(data) - at < length:
            raise malformed(f"a BYTES element of {length} bytes is announced, {len(data) - at} bytes are left")
        elements.append(bytes(data[at : at + length]))
        at += length
    return elements


def joined(elements: Iterable[bytes]) -> bytes:
    """A BYTES tensor in binary form."""
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


def binary(data: npt.NDArray[np.float32] | Sequence[bytes]) -> bytes:
    """An output in binary form."""
    return data.astype("<f4", copy=False).tobytes() if isinstance(data, np.ndarray) else joined(data)


def malformed(detail: str) -> EffserveError:
    """The request breaks the protocol."""
    return EffserveError(ErrorKind.MALFORMED_REQUEST, detail)


def _files(tensor: InputTensor, batch: int) -> Sequence[bytes]:
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ((), (1,)):
        raise malformed(f"{INPUT!r} of datatype BYTES has shape {_shown(tensor.shape)}; it can be [N] or [N, 1]")
    _check_count(tensor.shape[0], batch)
    elements = split(tensor.data, tensor.shape[0]) if isinstance(tensor.data, bytes | memoryview) else tensor.data
    if len(elements) != tensor.shape[0]:
        raise malformed(f"{INPUT!r} has shape {_shown(tensor.shape)} and {len(elements)} elements")
    return elements


def _pictures(tensor: InputTensor, size_px: int | None, batch: int) -> list[Source]:
    if len(tensor.shape) != 4 or tensor.shape[3] != CHANNELS:
        detail = f"{INPUT!r} of datatype {tensor.datatype} has shape {_shown(tensor.shape)}, not [N, height, width, 3]"
        raise malformed(detail)
    count, height_px, width_px, _ = tensor.shape
    _check_count(count, batch)
    if not isinstance(tensor.data, bytes | memoryview):
        raise malformed(f"{INPUT!r} of datatype {tensor.datatype} has elements of BYTES")
    wanted = math.prod(tensor.shape) * ITEM_BYTES[tensor.datatype]
    if len(tensor.data) != wanted:
        raise malformed(f"{INPUT!r} has {len(tensor.data)} bytes; its shape {_shown(tensor.shape)} makes {wanted}")
    samples = memoryview(tensor.data if tensor.datatype == "UINT8" else _levels(tensor.data))
    each, prepared = height_px * width_px * CHANNELS, (width_px, height_px) == (size_px, size_px)
    return [
        Pixels(samples[number * each : (number + 1) * each], width_px, height_px, prepared) for number in range(count)
    ]


def _levels(data: bytes | memoryview) -> bytes:
    """FP32 to the nearest of 256 levels, which is what the networks take."""
    values = np.frombuffer(data, "<f4")
    # Written so that NaN fails, too.
    if values.size and not (values.min() >= 0 and values.max() <= 255):
        detail = f"{INPUT!r} of datatype FP32 has values outside 0 to 255; send pixels as they are, not normalised"
        raise EffserveError(ErrorKind.INVALID_PARAMETER, detail, {"parameter": INPUT})
    levels: npt.NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return levels.tobytes()


def _check_count(count: int, batch: int) -> None:
    if count == 0:
        raise malformed("the batch has no images")
    if count > batch:
        detail = f"the batch has {count} images; the limit for this model is {batch} (`limits.batch`)"
        raise EffserveError(ErrorKind.REQUEST_TOO_LARGE, detail, {"limit_images": batch})


def _shown(shape: tuple[int, ...]) -> str:
    return str(list(shape[:8]))
