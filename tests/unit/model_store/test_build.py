"""Graphs: what is built, what is refused, and what verification catches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from model_store.builder import build
from model_store.builder.build import BuildError
from model_store.builder.network import OPSET
from model_store.builder.spec import Spec, resolve
from model_store.builder.weights import untrained
from tests.unit.model_store.small import CLASSES, TINY, shapes

SYMMETRIC = replace(TINY, padding="symmetric")


def _build(spec: Spec = TINY, *, size: int | None = None) -> ir.Model:
    return build.build_graph(spec, untrained(shapes(spec), 0).tensors, classes=CLASSES, size=size)


def _save(path: Path, body: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> None:
    """A hand-made graph from `image` to `logits`, with the network's signature."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 32, 32, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])
    graph = helper.make_graph(body, "hand-made", [image], [logits], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9), path)


def test_checkpoint_names_are_timms() -> None:
    """The tensors asked for go by the names of timm's checkpoints, in their shapes."""
    wanted = build.state_shapes(resolve("b0"), 1000)
    assert len(wanted) == 360 - 49  # timm's state less a counter for each of 49 batch norms
    assert wanted["blocks.0.0.conv_pw.weight"] == (16, 32, 1, 1)
    assert wanted["blocks.1.0.se.conv_reduce.weight"] == (4, 96, 1, 1)
    assert wanted["classifier.weight"] == (1000, 1280)


def test_signature_is_uint8_image_to_logits(tmp_path: Path) -> None:
    """A saved graph takes any number of uint8 images and gives one row of logits for each."""
    build.save(_build(), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    image, logits = graph.input[0].type.tensor_type, graph.output[0].type.tensor_type
    assert (image.elem_type, logits.elem_type) == (TensorProto.UINT8, TensorProto.FLOAT)
    assert [d.dim_param or d.dim_value for d in image.shape.dim] == ["N", 32, 32, 3]
    assert [d.dim_param or d.dim_value for d in logits.shape.dim] == ["N", CLASSES]


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    """Building is deterministic, so a checksum identifies a graph."""
    for name in ("one.onnx", "two.onnx"):
        build.save(_build(), tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_same_padding_refuses_sizes_that_shift_its_grid() -> None:
    """Sizes that are not the native one ± 32·n would pad other stages than in training."""
    with pytest.raises(BuildError, match=r"runs at 32 ± 32·n pixels, not at 48"):
        _build(size=48)


@pytest.mark.parametrize(("spec", "size"), [(TINY, 64), (SYMMETRIC, 48)], ids=["same", "symmetric"])
def test_other_sizes_build_and_run(tmp_path: Path, spec: Spec, size: int) -> None:
    """SAME padding takes steps of 32, symmetric padding any size."""
    build.save(_build(spec, size=size), tmp_path / "model.onnx")
    build.verify(tmp_path / "model.onnx", size=size, classes=CLASSES)


def test_missing_tensors_stop_a_build() -> None:
    """No tensor is filled in silently."""
    state = untrained(shapes(), 0).tensors
    del state["classifier.bias"]
    with pytest.raises(Exception, match=r"classifier\.bias"):
        build.build_graph(TINY, state, classes=CLASSES)


def test_verification_refuses_what_is_not_a_graph(tmp_path: Path) -> None:
    """A damaged file is named, in one line."""
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(BuildError, match=r"^model\.onnx does not run: [^\n]*$"):
        build.verify(tmp_path / "model.onnx", size=32, classes=CLASSES)


def test_verification_refuses_another_number_of_classes(tmp_path: Path) -> None:
    """The graph must answer for every label."""
    build.save(_build(), tmp_path / "model.onnx")
    with pytest.raises(BuildError, match=rf"gives \(2, {CLASSES}\) logits"):
        build.verify(tmp_path / "model.onnx", size=32, classes=CLASSES + 1)


def test_verification_refuses_logits_that_are_not_finite(tmp_path: Path) -> None:
    """Weights that overflow are found out by the run."""
    state = untrained(shapes(), 0).tensors
    state["classifier.bias"][:] = np.inf
    build.save(build.build_graph(TINY, state, classes=CLASSES), tmp_path / "model.onnx")
    with pytest.raises(BuildError, match="finite: False"):
        build.verify(tmp_path / "model.onnx", size=32, classes=CLASSES)


def test_verification_refuses_answers_that_depend_on_the_batch(tmp_path: Path) -> None:
    """An image must get the same logits alone and in company."""
    body = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["each"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("ReduceMean", ["each"], ["all"], axes=[0], keepdims=1),
        helper.make_node("Add", ["each", "all"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["flat"]),
        helper.make_node("MatMul", ["flat", "ones"], ["logits"]),
    ]
    _save(tmp_path / "model.onnx", body, [helper.make_tensor("ones", TensorProto.FLOAT, [1, CLASSES], [1.0] * CLASSES)])
    with pytest.raises(BuildError, match="other logits in a batch than alone"):
        build.verify(tmp_path / "model.onnx", size=32, classes=CLASSES)
