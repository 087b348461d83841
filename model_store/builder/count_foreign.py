"""Parameters and multiply-adds of a graph that was made elsewhere.

Its names say nothing and its shapes may be open. So the graph itself is asked: nodes that give shapes, and nothing
else, become its outputs, and one run answers. Left out: what is inside loops and branches, and operators that fuse
several steps, such as attention.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

Sizes = Sequence[int]
Run = Callable[[onnx.ModelProto], Sequence[npt.NDArray[np.generic]]]
"""Runs a graph once and gives all its outputs."""


def _convolution(node: ir.Node, image: Sizes, weight: Sizes, result: Sizes) -> int:
    return math.prod(result) * math.prod(weight[1:])


def _transposed_convolution(node: ir.Node, image: Sizes, weight: Sizes, result: Sizes) -> int:
    return math.prod(image) * math.prod(weight[1:])


def _product(node: ir.Node, left: Sizes, right: Sizes, result: Sizes) -> int:
    return math.prod(result) * left[-1]


def _general_product(node: ir.Node, left: Sizes, right: Sizes, result: Sizes) -> int:
    return math.prod(result) * left[0 if node.attributes.get_int("transA", 0) else 1]


PRODUCTS: dict[str, tuple[int, Callable[[ir.Node, Sizes, Sizes, Sizes], int]]] = {
    "Conv": (1, _convolution),
    "FusedConv": (1, _convolution),
    "ConvInteger": (1, _convolution),
    "QLinearConv": (3, _convolution),
    "ConvTranspose": (1, _transposed_convolution),
    "Gemm": (1, _general_product),
    "FusedGemm": (1, _general_product),
    "QGemm": (3, _general_product),
    "MatMul": (1, _product),
    "MatMulInteger": (1, _product),
    "QLinearMatMul": (3, _product),
}
"""Operators that multiply and add, with the place of their second operand among the inputs."""

STATISTICS = {"BatchNormalization": (3, 4)}
"""Inputs that training records rather than learns."""
QUANTISED = (ir.DataType.INT8, ir.DataType.UINT8)


def params(proto: onnx.ModelProto, output: str) -> int:
    """Elements of the floating-point tensors and quantised matrices behind an output, less what norms recorded.

    An upper bound of the trainable parameters: constants that are no weights look like them.
    """
    graph = _behind(proto, output).graph
    recorded = {value for node in graph for value in _recorded(node)}
    return sum(_weights(value) for value in graph.initializers.values() if value not in recorded)


def macs(proto: onnx.ModelProto, output: str, run: Run) -> int:
    """Multiply-adds of one run up to an output. `run` decides on the images."""
    model = _behind(proto, output)
    products = [node for node in model.graph if node.op_type in PRODUCTS]
    if not products:
        return 0
    model.graph.outputs[:] = list(_shapes(model.graph, products))
    passes.RemoveUnusedNodesPass()(model)
    shapes = (shape.tolist() for shape in run(ir.to_proto(model)))
    operands = zip(shapes, shapes, shapes, strict=True)
    return sum(PRODUCTS[node.op_type][1](node, *sizes) for node, sizes in zip(products, operands, strict=True))


def _behind(proto: onnx.ModelProto, output: str) -> ir.Model:
    """What an output needs, with all constants as initializers."""
    model = ir.from_proto(proto)
    model.graph.outputs[:] = [value for value in model.graph.outputs if value.name == output]
    passes.LiftConstantsToInitializersPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    return model


def _shapes(graph: ir.Graph, products: Sequence[ir.Node]) -> Iterator[ir.Value]:
    """Three for each product: of both operands and of the result."""
    tape = ir.tape.Tape(graph)
    for number, node in enumerate(products):
        second, _ = PRODUCTS[node.op_type]
        for place, value in enumerate((node.inputs[0], node.inputs[second], node.outputs[0])):
            shape: ir.Value = tape.op("Shape", [value])
            shape.name, shape.type = f"effserve_shape_{number}_{place}", ir.TensorType(ir.DataType.INT64)
            yield shape


def _recorded(node: ir.Node) -> Iterator[ir.Value | None]:
    for place in STATISTICS.get(node.op_type, ()):
        if place < len(node.inputs):
            yield node.inputs[place]


def _weights(value: ir.Value) -> int:
    tensor = value.const_value
    if tensor is None:
        return 0
    axes = len(tensor.shape)
    counted = axes > 0 if tensor.dtype.is_floating_point() else axes > 1 and tensor.dtype in QUANTISED
    return tensor.size if counted else 0
