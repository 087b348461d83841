"""Parameters and multiply-adds, counted on the built graph rather than by formula."""

import math
from dataclasses import dataclass

import onnx_ir as ir

TRAINABLE = (".weight", ".bias", ".proxy_weight", ".proxy_bias")
"""Initializers that a trainer would update; running statistics and constants are not among them."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one image costs and what the network holds."""

    params: int
    macs: int


def count(model: ir.Model) -> Counts:
    """Counts of the *literal* form for batch 1: convolutions (SE included) and the classifier.

    Raises `ValueError` when a shape that is needed was not inferred.
    """
    initializers = model.graph.initializers
    params = sum(_elements(v) for name, v in initializers.items() if name is not None and name.endswith(TRAINABLE))
    return Counts(params, sum(_macs(node) for node in model.graph))


def _macs(node: ir.Node) -> int:
    if node.op_type not in ("Conv", "Gemm"):
        return 0
    weight, output = node.inputs[1], node.outputs[0]
    if weight is None or weight.shape is None or output.shape is None:
        raise ValueError(f"no shape for {node.op_type} {node.name}")
    return math.prod(dimensions(output.shape)[1:]) * math.prod(dimensions(weight.shape)[1:])


def _elements(value: ir.Value) -> int:
    if value.shape is None:
        raise ValueError(f"no shape for {value.name}")
    return math.prod(dimensions(value.shape))


def dimensions(shape: ir.Shape) -> tuple[int, ...]:
    """Sizes along each axis, with 1 for the symbolic batch. Raises `ValueError` for any other unknown size."""
    sizes = [1 if str(size) == "N" else size for size in shape]
    if not all(isinstance(size, int) for size in sizes):
        raise ValueError(f"shape {shape} is not known")
    return tuple(size for size in sizes if isinstance(size, int))
