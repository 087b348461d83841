"""Gates in the blocked layout: which products are taken, and what they become."""

import pytest
from google.protobuf.message import DecodeError

from service.pipeline.gates import BLOCKED, gated
from service.wire.graph_pb2 import Attribute, Graph, Model, Node, Tensor

SIGMOID = Attribute(name="activation", s=b"Sigmoid", type=3)


def blocked(kind: str, inputs: list[str], output: str, *attributes: Attribute) -> Node:
    """An operator on blocks."""
    return Node(op_type=kind, domain=BLOCKED, input=inputs, output=[output], attribute=attributes)


def plain(kind: str, inputs: list[str], output: str) -> Node:
    """One of ONNX's own."""
    return Node(op_type=kind, input=inputs, output=[output])


def block(*, activation: Attribute = SIGMOID, more: tuple[Node, ...] = ()) -> Model:
    """A gate as ONNX Runtime leaves it: 40 channels in three blocks of 16, of image, gate and what comes after."""
    nodes = [
        blocked("Conv", ["squeezed", "expand.weight"], "gate_blocks", activation),
        blocked("ReorderOutput", ["gate_blocks"], "gate"),
        blocked("ReorderOutput", ["image_blocks"], "image"),
        plain("Mul", ["image", "gate"], "product"),
        blocked("ReorderInput", ["product"], "product_blocks"),
        blocked("Conv", ["product_blocks", "project.weight"], "projected"),
        *more,
    ]
    return Model(graph=Graph(node=nodes, initializer=[Tensor(dims=[48, 16, 1, 1], name="expand.weight")]))


def changed(model: Model) -> Graph:
    """What becomes of it."""
    content = gated(model.SerializeToString())
    assert content is not None
    return Model.FromString(content).graph


def kinds(graph: Graph) -> list[tuple[str, str]]:
    """Operator and output of each node."""
    return [(node.op_type, node.output[0]) for node in graph.node]


def test_a_gate_becomes_the_weights_of_a_convolution_of_one_pixel() -> None:
    """And nothing leaves the blocks any more."""
    graph = changed(block())
    assert kinds(graph) == [
        ("Conv", "gate_blocks"),
        ("Reshape", "product_weights"),
        ("Conv", "product_blocks"),
        ("Conv", "projected"),
    ]
    product = graph.node[2]
    assert (product.domain, list(product.input)) == (BLOCKED, ["image_blocks", "product_weights"])
    assert {one.name: one.i or list(one.ints) for one in product.attribute} == {"group": 48, "kernel_shape": [1, 1]}


def test_the_weights_have_a_channel_for_each_place_in_the_blocks() -> None:
    """48 for 40 channels: as many as the convolution has that makes the gate."""
    graph = changed(block())
    (shape,) = (one for one in graph.initializer if one.name == graph.node[1].input[1])
    assert (list(shape.dims), list(shape.int64_data)) == ([4], [48, 1, 1, 1])


def test_what_somebody_else_reads_in_the_plain_layout_is_still_put_there() -> None:
    """Here the image."""
    graph = changed(block(more=(plain("Relu", ["image"], "other"),)))
    assert ("ReorderOutput", "image") in kinds(graph)
    assert ("ReorderOutput", "gate") not in kinds(graph)


def test_fields_that_are_not_known_are_carried_along() -> None:
    """The version of the format (field 1 of a model) is one."""
    content = gated(b"\x08\x09" + block().SerializeToString())
    assert content is not None
    assert b"\x08\x09" in content


@pytest.mark.parametrize(
    "model",
    [
        block(activation=Attribute(name="activation", s=b"Relu", type=3)),
        block(more=(plain("Relu", ["product"], "other"),)),
        Model(graph=Graph(node=[plain("Mul", ["a", "b"], "c")])),
        Model(),
    ],
    ids=["no sigmoid", "read by others", "no layout", "nothing"],
)
def test_other_products_stay_as_they_are(model: Model) -> None:
    """So does the whole graph then."""
    assert gated(model.SerializeToString()) is None


def test_what_is_no_model_is_an_error() -> None:
    """ONNX Runtime has just written it."""
    with pytest.raises(DecodeError):
        gated(b"\xff")
