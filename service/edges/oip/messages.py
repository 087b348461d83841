"""A request and a response of the protocol, however they were coded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Parameter = bool | int | float | str


@dataclass(frozen=True, slots=True)
class InputTensor:
    """One input."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview | Sequence[bytes]
    """The elements' bytes, little-endian and in row-major order; of BYTES, the elements."""

    @property
    def size_bytes(self) -> int:
        """Of the data."""
        if isinstance(self.data, bytes | memoryview):
            return len(self.data)
        return sum(len(element) for element in self.data)


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output that a request names."""

    name: str
    classes: int = 0
    """So many of the most probable classes as text; 0 for the tensor."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client sends."""

    model: str
    version: str
    """Empty for whichever is served."""
    id: str
    parameters: Mapping[str, Parameter]
    inputs: Sequence[InputTensor]
    outputs: Sequence[WantedOutput] = ()
    """Empty for all."""


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: npt.NDArray[np.float32] | Sequence[bytes]
    """Of BYTES, the elements."""


@dataclass(frozen=True, slots=True)
class InferResponse:
    """What a client gets."""

    model: str
    version: str
    id: str
    parameters: Mapping[str, Parameter]
    outputs: Sequence[OutputTensor] = field(default_factory=tuple)
