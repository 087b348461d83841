"""A trained variant as one file: safetensors whose header says all that is needed to build it and to judge it.

Training writes one in float32. `packed` makes it a quarter as large: convolution and classifier weights as 8-bit
integers with a scale for each output channel (as in Jacob et al., arXiv 1712.05877, §3), all else as it was. What is
built from a packed file computes in float32 with the rounded weights; their accuracy is measured, not assumed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from model_store.builder.spec import Spec
from model_store.manifest import Accuracy, Preprocessing

KEY = "effserve"
"""Of the header's entry."""
SCALE = ".scale"
"""Suffix of the tensor that a packed one is multiplied with, [outputs]."""
LEVELS = 127

Tensors = dict[str, npt.NDArray[np.float32]]


BUNDLED = Path(__file__).parent / "bundled"
"""Where the trained variants that come with the package lie."""


class TrainedFileError(Exception):
    """The file is not one that training or packing wrote. One line."""


class TrainingData(BaseModel):
    """What was learned from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images: int
    sha256: str
    """Of a ZIP, or of a folder's file names and sizes."""


class Trained(BaseModel):
    """The header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    spec: Spec
    preprocessing: Preprocessing
    labels_name: str
    labels: str
    """The text of `labels.tsv`: index, WordNet id, words; a line a class."""
    recipe: dict[str, Any]
    """Hyperparameters, seed included."""
    data: TrainingData
    commit: str
    """Of the code that trained it."""
    made_with: str
    """Versions and device."""
    hours: float
    """Time of training."""
    licence: str
    packing: Literal["float32", "int8"] = "float32"
    accuracy: Accuracy = Accuracy()
    """Of exactly the weights in this file, through the service's own path."""


def write(path: Path, header: Trained, tensors: dict[str, npt.NDArray[Any]]) -> None:
    """Write the file in one step; equal inputs give equal bytes. Raises `TrainedFileError`, `OSError`."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(tensors, temporary, metadata={KEY: json.dumps(header.model_dump(mode="json"), sort_keys=True)})
    except SafetensorError as error:
        raise TrainedFileError(f"{path} cannot be written: {error}") from error
    temporary.chmod(0o644)  # the library writes for its owner alone
    temporary.replace(path)


def read_header(path: Path) -> Trained | None:
    """The header, or None when the file is a safetensors file of somebody else's. Raises `TrainedFileError`."""
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
        return None if text is None else Trained.model_validate_json(text)
    except (SafetensorError, OSError) as error:
        raise TrainedFileError(f"{path} is not a safetensors file that can be read: {error}") from error
    except ValidationError as error:
        raise TrainedFileError(f"{path} has a header that is not valid: {error.errors()[0]['msg']}") from error


def read_tensors(path: Path) -> Tensors:
    """All tensors in float32, unpacked. Raises `TrainedFileError`."""
    try:
        with safe_open(path, framework="numpy") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TrainedFileError(f"{path} is not a safetensors file that can be read: {error}") from error
    return unpacked(found)


def bundled() -> dict[str, tuple[Path, Trained]]:
    """The trained variants that come with the package, by name. Raises `TrainedFileError` for a damaged one."""
    found = {}
    for path in sorted(BUNDLED.glob("*.safetensors")):
        header = read_header(path)
        if header is not None:
            found[header.spec.name] = (path, header)
    return found


def packed(tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
    """Weight matrices as int8 and a scale per output channel; vectors stay as they are."""
    result: dict[str, npt.NDArray[Any]] = {}
    for name, value in tensors.items():
        if value.ndim < 2:
            result[name] = value
            continue
        scale = np.abs(value).reshape(len(value), -1).max(axis=1) / LEVELS
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        result[name] = np.rint(value / _per_output(scale, value.ndim)).astype(np.int8)
        result[name + SCALE] = scale
    return result


def unpacked(tensors: dict[str, npt.NDArray[Any]]) -> Tensors:
    """The inverse of `packed`, up to rounding; tensors that are not packed pass."""
    return {
        name: (value * _per_output(tensors[name + SCALE], value.ndim) if name + SCALE in tensors else value).astype(
            np.float32
        )
        for name, value in tensors.items()
        if not name.endswith(SCALE)
    }


def digest(parts: list[str]) -> str:
    """SHA-256 over lines."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _per_output(scale: npt.NDArray[np.float32], dimensions: int) -> npt.NDArray[np.float32]:
    return scale.reshape(-1, *[1] * (dimensions - 1))
