"""Quantisation of graphs: what stays in float32, and which graphs do not quantise."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_store.builder import quantised as module
from model_store.builder.quantised import MOST_PARTS, QuantiseRefused, parts, quantised
from tests.fixtures import tiny_graph

ANY = 100.0
"""Nats: no network diverges so far."""
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(name="graph")
def _graph(tmp_path: Path) -> Path:
    path = tmp_path / "b0" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(tiny_graph(32).content)
    return path


def convolutions_in_float(content: bytes) -> set[str]:
    """Those whose image comes from no dequantisation."""
    nodes = onnx.ModelProto.FromString(content).graph.node
    makers = {output: node.op_type for node in nodes for output in node.output}
    return {node.name for node in nodes if node.op_type == "Conv" and makers[node.input[0]] != "DequantizeLinear"}


def test_the_first_method_that_will_do_is_taken(graph: Path) -> None:
    """Nothing is left in float32 then."""
    made = quantised(graph, IMAGES, reduced_range=False, tolerance_nats=ANY)
    assert (made.method, made.in_float, convolutions_in_float(made.content)) == ("minmax", (), set())
    assert made.divergence > 0


def test_the_parts_that_lose_most_stay_in_float(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As few as are needed; it diverges less than all of it in integers does."""
    monkeypatch.setattr(module, "METHODS", ("minmax",))
    monkeypatch.setattr(module, "MOST_PARTS", 4)
    whole = quantised(graph, IMAGES, reduced_range=False, tolerance_nats=ANY)
    told: list[str] = []
    made = quantised(graph, IMAGES, reduced_range=False, tolerance_nats=0.9 * whole.divergence, announce=told.append)
    assert made.divergence <= 0.9 * whole.divergence
    assert len(made.in_float) >= 1
    assert convolutions_in_float(made.content)
    assert any(line.startswith("trying ") for line in told)


def test_weights_of_seven_bits_stay_below_64(graph: Path) -> None:
    """So that two products of them fit into 16 bits."""
    made = quantised(graph, IMAGES, reduced_range=True, tolerance_nats=ANY)
    weights = [
        onnx.numpy_helper.to_array(one)
        for one in onnx.ModelProto.FromString(made.content).graph.initializer
        if one.data_type == TensorProto.INT8 and len(one.dims) == 4
    ]
    assert weights
    assert max(int(np.abs(one.astype(int)).max()) for one in weights) <= 64


def test_a_network_that_diverges_all_the_same_is_refused(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says by how much."""
    monkeypatch.setattr(module, "METHODS", ("minmax",))
    monkeypatch.setattr(module, "MOST_PARTS", 4)
    with pytest.raises(QuantiseRefused, match=r"b0 version 1 does not quantise: with 50% of it left in float32"):
        quantised(graph, IMAGES, reduced_range=False, tolerance_nats=0.0)


def test_a_graph_that_is_quantised_already_is_refused(graph: Path) -> None:
    """Whatever its manifest says."""
    graph.write_bytes(quantised(graph, IMAGES, reduced_range=False, tolerance_nats=ANY).content)
    with pytest.raises(QuantiseRefused, match="is quantised already"):
        quantised(graph, IMAGES, reduced_range=False)


def test_a_graph_with_nothing_to_quantise_is_refused(graph: Path) -> None:
    """It only counts: there is no form of that in 8-bit integers."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 32, 32, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 32])
    axes = onnx.numpy_helper.from_array(np.array([2, 3]), "axes")
    nodes = [
        helper.make_node("Cast", ["image"], ["values"], "cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["values", "axes"], ["logits"], "sum", keepdims=0),
    ]
    proto = helper.make_graph(nodes, "counts", [image], [logits], [axes])
    onnx.save(helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), graph)
    with pytest.raises(QuantiseRefused, match="nothing in it has a form in 8-bit integers"):
        quantised(graph, IMAGES, reduced_range=False)


def test_a_graph_that_is_none_is_refused_in_one_line(graph: Path) -> None:
    """With the reason."""
    graph.write_bytes(b"not a graph")
    with pytest.raises(QuantiseRefused, match="does not quantise: ") as caught:
        quantised(graph, IMAGES, reduced_range=False)
    assert "\n" not in str(caught.value)


def test_parts_are_the_modules_that_exporters_write_into_names() -> None:
    """In order, each with all of its nodes."""
    nodes = ["cast", "stem/Conv_1", "blocks/0.0/dw/Conv_2", "blocks/0.0/se/Conv_3", "/layer1/layer1.0/conv/Conv"]
    assert parts(nodes) == {
        "cast": ["cast"],
        "stem": ["stem/Conv_1"],
        "blocks/0.0": nodes[2:4],
        "layer1/layer1.0": nodes[4:],
    }


@pytest.mark.parametrize("count", [1, MOST_PARTS, MOST_PARTS + 1, 1000])
def test_there_are_never_too_many_parts(count: int) -> None:
    """Of graphs without modules, neighbours go together; none is lost."""
    nodes = [f"Conv_{number}" for number in range(count)]
    found = parts(nodes)
    assert len(found) <= MOST_PARTS
    assert [node for names in found.values() for node in names] == nodes
