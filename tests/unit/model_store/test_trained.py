"""Trained variants as files: header, packing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from model_store.builder.spec import resolve
from model_store.trained import (
    LEVELS,
    Tensors,
    Trained,
    TrainedFileError,
    TrainingData,
    packed,
    read_header,
    read_tensors,
    unpacked,
    write,
)
from tests.fixtures import labels_text, preprocessing


def header(**changes: object) -> Trained:
    """Of a run that never was."""
    fields: dict[str, object] = {
        "spec": resolve("b0"),
        "preprocessing": preprocessing(96),
        "labels_name": "ten",
        "labels": labels_text(),
        "recipe": {"epochs": 3, "seed": 1},
        "data": TrainingData(name="ten.zip", images=100, sha256="0" * 64),
        "commit": "abc",
        "made_with": "tests",
        "hours": 0.1,
        "licence": "Apache-2.0",
    }
    return Trained.model_validate(fields | changes)


def tensors() -> Tensors:
    """A convolution, a classifier and a norm."""
    random = np.random.default_rng(0)
    return {
        "conv.weight": random.normal(0, 0.1, (8, 3, 3, 3)).astype(np.float32),
        "classifier.weight": random.normal(0, 2, (5, 8)).astype(np.float32),
        "bn1.weight": random.normal(1, 0.1, 8).astype(np.float32),
    }


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    """Header and tensors."""
    write(tmp_path / "b0.safetensors", header(), dict(tensors()))
    assert read_header(tmp_path / "b0.safetensors") == header()
    found = read_tensors(tmp_path / "b0.safetensors")
    assert all(np.array_equal(found[name], value) for name, value in tensors().items())


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    """So that a checksum identifies the weights."""
    for name in ("one", "two"):
        write(tmp_path / name, header(), dict(tensors()))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_packed_file_is_read_in_float32(tmp_path: Path) -> None:
    """The reader need not know how it was stored."""
    write(tmp_path / "b0", header(packing="int8"), packed(tensors()))
    found = read_tensors(tmp_path / "b0")
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    assert found.keys() == tensors().keys()


def test_packing_quarters_the_weights(tmp_path: Path) -> None:
    """Matrices as bytes; vectors, which are small and sensitive, as they are."""
    small = packed(tensors())
    assert small["conv.weight"].dtype == np.int8
    assert np.array_equal(small["bn1.weight"], tensors()["bn1.weight"])


@given(arrays.arrays(np.float32, (4, 6), elements=st.floats(-1e3, 1e3, width=32)))
def test_packing_moves_a_weight_by_half_a_step_at_most(value: np.ndarray) -> None:
    """A step is 1/127 of the largest weight of its output channel."""
    found = unpacked(packed({"w": value}))["w"]
    step = np.abs(value).max(axis=1, keepdims=True) / LEVELS
    assert (np.abs(found - value) <= 0.5001 * step + 1e-30).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    """Its scale would otherwise divide by zero."""
    zeros = {"w": np.zeros((2, 3), np.float32)}
    assert np.array_equal(unpacked(packed(zeros))["w"], zeros["w"])


def test_somebody_else_s_file_has_no_header(tmp_path: Path) -> None:
    """A checkpoint from a hub is a safetensors file too."""
    save_file(dict(tensors()), tmp_path / "theirs.safetensors")
    assert read_header(tmp_path / "theirs.safetensors") is None


def test_what_is_no_safetensors_file_is_an_error(tmp_path: Path) -> None:
    """One line that names the file."""
    (tmp_path / "text").write_text("hello")
    with pytest.raises(TrainedFileError, match="text is not a safetensors file"):
        read_header(tmp_path / "text")


def test_a_damaged_header_is_an_error(tmp_path: Path) -> None:
    """Rather than taken for somebody else's file."""
    save_file(dict(tensors()), tmp_path / "bad", metadata={"effserve": '{"format": 1}'})
    with pytest.raises(TrainedFileError, match="header that is not valid"):
        read_header(tmp_path / "bad")
