"""Multiply-adds of operators, each against the textbook."""

import numpy as np
import onnx
import pytest

from model_store.builder.count_foreign import macs
from tests.unit.model_store.foreign_graphs import Array, model, node, run, tensor

SHAPE = (1, 4, 6, 6)
KERNEL = np.ones((8, 4, 3, 3), np.float32)
CASES = {
    "convolution": (node("Conv", "x w", "y", pads=[1] * 4), KERNEL, 8 * 6 * 6 * 4 * 3 * 3),
    "stride": (node("Conv", "x w", "y", pads=[1] * 4, strides=[2, 2]), KERNEL, 8 * 3 * 3 * 4 * 3 * 3),
    "groups": (node("Conv", "x w", "y", group=4), np.ones((4, 1, 3, 3), np.float32), 4 * 4 * 4 * 3 * 3),
    "transposed": (node("ConvTranspose", "x w", "y"), np.ones((4, 5, 2, 2), np.float32), 4 * 6 * 6 * 5 * 2 * 2),
    "matrix product": (node("MatMul", "x w", "y"), np.ones((6, 7), np.float32), 4 * 6 * 7 * 6),
    "none": (node("Add", "x w", "y"), np.ones(1, np.float32), 0),
}


def counted(nodes: list[onnx.NodeProto], shape: tuple[int, ...], constants: dict[str, Array]) -> int:
    """Multiply-adds of a graph from `x` to `y`."""
    made = model(nodes, [tensor("x", "f4", shape)], [tensor("y", "f4", None)], constants)
    return macs(made, "y", lambda graph: run(graph, np.zeros(shape, np.float32)))


@pytest.mark.parametrize(("operator", "weight", "expected"), CASES.values(), ids=CASES.keys())
def test_each_output_value_is_a_sum_of_products(operator: onnx.NodeProto, weight: Array, expected: int) -> None:
    """As many as the operator adds up for it."""
    assert counted([operator], SHAPE, {"w": weight}) == expected


@pytest.mark.parametrize("turned", [0, 1])
def test_a_general_product_may_turn_its_first_operand(turned: int) -> None:
    """Then the axis that is added over is the other one."""
    shape = (5, 3) if turned else (3, 5)
    gemm = node("Gemm", "x w", "y", transA=turned)
    assert counted([gemm], shape, {"w": np.ones((5, 7), np.float32)}) == 3 * 5 * 7


def test_what_the_output_does_not_need_is_not_counted() -> None:
    """Nor run."""
    nodes = [node("MatMul", "x w", "other"), node("Relu", "x", "y")]
    assert counted(nodes, SHAPE, {"w": np.ones((6, 7), np.float32)}) == 0
