"""Gating without leaving the blocked layout: a change to graphs that ONNX Runtime has optimised.

ONNX Runtime runs convolutions in blocks of channels (NCHWc), and what lies between them, where it can. It cannot where
an image is multiplied by a squeeze-and-excite gate, one number a channel: a product has no broadcast in that layout
(onnxruntime pull request 7279 says so, and what operator it would take). So the image is put into the plain layout,
multiplied, and put back into blocks: a seventh of B0. But a depthwise convolution with a kernel of one pixel *is* that
product, the gate in blocks is already laid out as its weights, and the runtime's kernel does not mind that they are
computed. The logits stay the same bit for bit: either way a number is multiplied by a number.

It holds for one image at a time, whose gate the weights are. Left out: anything else that was optimised; a graph in
which the pattern is not found stays as it is.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from service.wire.graph_pb2 import Attribute, Graph, Model, Node, Tensor

BLOCKED = "com.microsoft.nchwc"
"""The domain of operators on blocks."""
INTEGER, INTEGERS, INT64 = 2, 7, 7
"""ONNX's numbers of types: of an attribute's value, and of a tensor's elements."""


def gated(model: bytes) -> bytes | None:
    """The model with its gates in the blocked layout; None when it has none. Raises `DecodeError` for no model."""
    parsed = Model.FromString(model)
    found = list(_gates(_Wiring(parsed.graph)))
    if not found:
        return None
    _rewrite(parsed.graph, found)
    return parsed.SerializeToString()


@dataclass(frozen=True, slots=True)
class _Gate:
    """One product, with what surrounds it."""

    product: Node
    back: Node
    """Puts the product into blocks."""
    image: str
    gate: str
    """In blocks, both."""
    channels: int
    """With those that fill up the last block."""


class _Wiring:
    """Who makes a value and who reads it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[Node]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}

    def maker(self, name: str, kind: str) -> Node | None:
        """The operator on blocks that makes a value, if it is of this kind."""
        node = self.makers.get(name)
        return node if node is not None and _is(node, kind) else None


def _gates(wiring: _Wiring) -> Iterator[_Gate]:
    for node in wiring.graph.node:
        if node.op_type == "Mul" and not node.domain and (found := _gate(node, wiring)) is not None:
            yield found


def _gate(product: Node, wiring: _Wiring) -> _Gate | None:
    """A gate is known by the convolution that ends in its sigmoid, whose weights tell how many channels there are."""
    image, gate = (wiring.maker(name, "ReorderOutput") for name in product.input)
    readers = wiring.readers[product.output[0]]
    if image is None or gate is None or len(readers) != 1 or not _is(readers[0], "ReorderInput"):
        return None
    expansion = wiring.maker(gate.input[0], "Conv")
    if expansion is None or _attribute(expansion, "activation").s != b"Sigmoid":
        return None
    channels = wiring.shapes.get(expansion.input[1])
    return None if channels is None else _Gate(product, readers[0], image.input[0], gate.input[0], channels[0])


def _rewrite(graph: Graph, found: list[_Gate]) -> None:
    """In place. The nodes stay in an order in which each comes after those that it reads."""
    instead = {gate.product.output[0]: gate for gate in found}
    gone = {gate.back.output[0] for gate in found}
    nodes: list[Node] = []
    for node in graph.node:
        gate = instead.get(node.output[0])
        nodes += _blocked(gate) if gate is not None else [] if node.output[0] in gone else [node]
    unread = {name for gate in found for name in gate.product.input}.difference(*(node.input for node in nodes))
    copies = Graph(node=[node for node in nodes if node.output[0] not in unread])
    del graph.node[:]
    graph.node.extend(copies.node)
    for channels in sorted({gate.channels for gate in found}):
        shape = Tensor(dims=[4], data_type=INT64, int64_data=[channels, 1, 1, 1], name=_shape(channels))
        graph.initializer.append(shape)


def _blocked(gate: _Gate) -> list[Node]:
    weights = f"{gate.product.output[0]}_weights"
    reshape = Node(op_type="Reshape", input=[gate.gate, _shape(gate.channels)], output=[weights], name=weights)
    attributes = [
        Attribute(name="group", i=gate.channels, type=INTEGER),
        Attribute(name="kernel_shape", ints=[1, 1], type=INTEGERS),
    ]
    product = Node(
        op_type="Conv",
        domain=BLOCKED,
        input=[gate.image, weights],
        output=list(gate.back.output),
        name=gate.product.output[0],
        attribute=attributes,
    )
    return [reshape, product]


def _shape(channels: int) -> str:
    return f"weights_of_{channels}_channels"


def _is(node: Node, kind: str) -> bool:
    return node.op_type == kind and node.domain == BLOCKED


def _attribute(node: Node, name: str) -> Attribute:
    """Empty where it has none of this name."""
    return next((one for one in node.attribute if one.name == name), Attribute())
