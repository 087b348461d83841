"""Where a network's numbers come from: a seed, or a timm-layout checkpoint file. Strict both ways."""

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from model_store.manifest import sha256_of

Tensors = dict[str, npt.NDArray[np.float32]]
Shapes = Mapping[str, tuple[int, ...]]

IGNORED = "num_batches_tracked"
"""Counters of torch's batch norm; inference has no use for them."""
NAMED_AT_MOST = 8


class WeightsError(Exception):
    """A checkpoint does not fit the network. The message names each tensor that is wrong."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """Tensors with where they come from."""

    tensors: Tensors
    source: str
    sha256: str | None


def untrained(shapes: Shapes, seed: int) -> LoadedWeights:
    """Seeded weights: the reference's initialisation, the same on every machine. Their predictions mean nothing.

    Each tensor has its own stream, so its values do not depend on the order or the number of the others.
    """
    tensors = {name: _initial(name, shape, seed) for name, shape in shapes.items()}
    return LoadedWeights(tensors, f"seed {seed}", None)


def from_safetensors(path: Path, shapes: Shapes) -> LoadedWeights:
    """A checkpoint in timm's layout. Raises `WeightsError` naming every missing, extra or misshaped tensor."""
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if not name.endswith(IGNORED)]  # noqa: SIM118
            _check_names(path, names, shapes)
            found = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError) as error:
        raise WeightsError(f"{path} is not a safetensors file that can be read: {error}") from error
    return fitted(found, shapes, path)


def fitted(found: Mapping[str, npt.NDArray[np.generic]], shapes: Shapes, path: Path) -> LoadedWeights:
    """The tensors of a file, when they are exactly those of the network. Raises `WeightsError` as above."""
    _check_names(path, found, shapes)
    _check_shapes(path, found, shapes)
    return LoadedWeights({n: _float32(path, n, v) for n, v in found.items()}, path.name, sha256_of(path))


def _initial(name: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """Convolutions: normal with variance 2 / fan-out. Classifier: uniform ± 1/√fan-in. Norms: identity."""
    if len(shape) == 1:
        ones = name.endswith((".weight", ".running_var"))
        return np.full(shape, 1.0 if ones else 0.0, np.float32)
    stream = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    if len(shape) == 4:
        fan_out = shape[0] * shape[2] * shape[3] // _groups(name, shape)
        return stream.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / fan_out))
    bound = np.float32(1 / math.sqrt(shape[1]))
    return (stream.random(shape, np.float32) * 2 - 1) * bound


def _groups(name: str, shape: tuple[int, ...]) -> int:
    """Spatial convolutions map as many channels to as many, in groups."""
    return shape[0] // shape[1] if name.endswith("conv_dw.weight") else 1


def _check_names(path: Path, names: Iterable[str], shapes: Shapes) -> None:
    found = set(names)
    missing, extra = sorted(shapes.keys() - found), sorted(found - shapes.keys())
    problems = [f"{kind}: {_list(which)}" for kind, which in (("missing", missing), ("unexpected", extra)) if which]
    if problems:
        raise WeightsError(f"{path.name} does not fit the network; {'; '.join(problems)}")


def _check_shapes(path: Path, found: Mapping[str, npt.NDArray[np.generic]], shapes: Shapes) -> None:
    wrong = [f"{n} is {list(v.shape)}, not {list(shapes[n])}" for n, v in found.items() if v.shape != shapes[n]]
    if wrong:
        raise WeightsError(f"{path.name} does not fit the network; {_list(wrong)}")


def _float32(path: Path, name: str, value: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    if value.dtype.kind != "f":
        raise WeightsError(f"{path.name}: {name} has {value.dtype} values, not floating-point ones")
    if not np.isfinite(value).all():
        raise WeightsError(f"{path.name}: {name} has values that are not finite")
    return value.astype(np.float32)


def _list(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
