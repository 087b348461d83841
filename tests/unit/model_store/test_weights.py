"""Weights from a seed and from a file."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from model_store.builder.weights import Tensors, WeightsError, from_safetensors, untrained
from model_store.manifest import sha256_of
from tests.unit.model_store.small import shapes

PINNED = "1b5fb05e175f627191e3eda2aa47492884d0028338697440f895419c33b8d801"
"""SHA-256 over the tensors of the tiny network from seed 0, by name."""


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].astype("<f4").tobytes())
    return digest.hexdigest()


def _file(folder: Path, tensors: dict[str, npt.NDArray[np.generic]]) -> Path:
    path = folder / "weights.safetensors"
    save_file(tensors, path)
    return path


def _tensors() -> dict[str, npt.NDArray[np.generic]]:
    return dict(untrained(shapes(), 0).tensors)


def test_a_seed_gives_the_same_weights_everywhere() -> None:
    """The draw is pinned: another machine or release must come to the same bytes."""
    assert _digest(untrained(shapes(), 0).tensors) == PINNED


def test_another_seed_gives_other_weights() -> None:
    """The seed matters."""
    assert _digest(untrained(shapes(), 1).tensors) != PINNED


def test_a_tensor_does_not_depend_on_its_neighbours() -> None:
    """Each name has its own stream, so order and number of the tensors change nothing."""
    wanted = shapes()
    alone = untrained({"conv_head.weight": wanted["conv_head.weight"]}, 0).tensors
    backwards = untrained(dict(reversed(list(wanted.items()))), 0).tensors
    assert np.array_equal(alone["conv_head.weight"], backwards["conv_head.weight"])


def test_seeded_weights_say_that_they_are() -> None:
    """Their source is the seed; there is no file to check."""
    loaded = untrained(shapes(), 5)
    assert (loaded.source, loaded.sha256) == ("seed 5", None)


def test_seeded_weights_have_the_reference_variances() -> None:
    """Convolutions have variance 2 / fan-out, depthwise ones counted a group; the classifier is within 1/√fan-in."""
    wanted = {"conv_head.weight": (512, 64, 1, 1), "x.conv_dw.weight": (2048, 1, 5, 5), "classifier.weight": (64, 400)}
    drawn = untrained(wanted, 0).tensors
    assert drawn["conv_head.weight"].var() == pytest.approx(2 / 512, rel=0.03)
    assert drawn["x.conv_dw.weight"].var() == pytest.approx(2 / 25, rel=0.03)
    assert np.abs(drawn["classifier.weight"]).max() == pytest.approx(1 / 20, rel=0.01)


def test_seeded_norms_are_the_identity() -> None:
    """Scale and variance one, shift and mean zero."""
    norm = {name: value for name, value in untrained(shapes(), 0).tensors.items() if name.startswith("bn1.")}
    assert {name: float(value.mean()) for name, value in norm.items()} == {
        "bn1.weight": 1.0, "bn1.bias": 0.0, "bn1.running_mean": 0.0, "bn1.running_var": 1.0,
    }  # fmt: skip


def test_a_file_gives_its_tensors_and_checksum(tmp_path: Path) -> None:
    """What was written is what is loaded, with the file's name and SHA-256 as its source."""
    path = _file(tmp_path, _tensors())
    loaded = from_safetensors(path, shapes())
    assert _digest(loaded.tensors) == PINNED
    assert (loaded.source, loaded.sha256) == ("weights.safetensors", sha256_of(path))


def test_half_precision_is_widened(tmp_path: Path) -> None:
    """Any floating-point type is taken, and becomes float32."""
    path = _file(tmp_path, {name: value.astype(np.float16) for name, value in _tensors().items()})
    assert {value.dtype for value in from_safetensors(path, shapes()).tensors.values()} == {np.dtype(np.float32)}


def test_counters_of_torch_are_ignored(tmp_path: Path) -> None:
    """`num_batches_tracked` is in every timm checkpoint and in no graph."""
    path = _file(tmp_path, _tensors() | {"bn1.num_batches_tracked": np.array(7)})
    assert from_safetensors(path, shapes()).tensors.keys() == shapes().keys()


def test_missing_and_unexpected_tensors_are_both_named(tmp_path: Path) -> None:
    """One message says all that does not fit."""
    tensors = _tensors() | {"fc.weight": np.zeros(3, np.float32)}
    del tensors["classifier.bias"]
    with pytest.raises(WeightsError, match=r"missing: classifier\.bias; unexpected: fc\.weight$"):
        from_safetensors(_file(tmp_path, tensors), shapes())


def test_long_lists_are_cut(tmp_path: Path) -> None:
    """A file of another network is described by eight names and a number."""
    with pytest.raises(WeightsError, match=rf"and {len(shapes()) - 8} more; unexpected: other$"):
        from_safetensors(_file(tmp_path, {"other": np.zeros(1, np.float32)}), shapes())


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    """A tensor of the right name and another shape is refused with both shapes."""
    tensors = _tensors() | {"classifier.bias": np.zeros(5, np.float32)}
    with pytest.raises(WeightsError, match=r"classifier\.bias is \[5\], not \[4\]"):
        from_safetensors(_file(tmp_path, tensors), shapes())


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    """Quantised values are not what the graph computes with."""
    tensors = _tensors() | {"classifier.bias": np.zeros(4, np.int8)}
    with pytest.raises(WeightsError, match=r"classifier\.bias has int8 values"):
        from_safetensors(_file(tmp_path, tensors), shapes())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    """A diverged checkpoint is found out before it is built."""
    tensors = _tensors() | {"classifier.bias": np.full(4, value, np.float32)}
    with pytest.raises(WeightsError, match=r"classifier\.bias has values that are not finite"):
        from_safetensors(_file(tmp_path, tensors), shapes())


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 something else altogether"])
def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty or foreign file gives one message with its path."""
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors is not a safetensors file that can be read"):
        from_safetensors(path, shapes())
