"""A foreign graph fitted to the service: uint8 images [N, size, size, 3] in, logits [N, classes] out.

In front: the axes and colours as the network wants them, then its normalisation. Behind: one row of float32 logits for
each image. A softmax at the end is taken off, because the service applies one itself; where probabilities come out of
something else, their logarithm is taken, of which a softmax gives them back.
"""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from model_store.builder.foreign import ELEMENT_TYPES, Array, Layout

Channels = Literal["rgb", "bgr"]
Ending = Literal["logits", "softmax", "probabilities"]
Triple = tuple[float, float, float]

LEAST_PROBABILITY = 1e-38
"""Added before the logarithm, which 0 has not; about the smallest float32 that is not denormal."""
SIZE_KEEPERS = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Dropout")
"""What may stand between a softmax and the output without changing a value."""
IR_TYPES = {
    "float": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "double": ir.DataType.DOUBLE,
    "uint8": ir.DataType.UINT8,
}


@dataclass(frozen=True, slots=True)
class Front:
    """What a network takes."""

    size: int
    layout: Layout
    channels: Channels
    element_type: str
    mean: Triple
    std: Triple
    """Of pixels in [0, 1], red first. Without effect on a network that takes bytes."""

    @property
    def offset(self) -> npt.NDArray[np.float32]:
        """255 · mean, in the network's order of axes and colours."""
        return self._constant(self.mean)

    @property
    def scale(self) -> npt.NDArray[np.float32]:
        """255 · std, likewise."""
        return self._constant(self.std)

    def prepare(self, images: npt.NDArray[np.uint8]) -> Array:
        """uint8 [N, size, size, 3], red first → what the network as it came takes."""
        ordered = images if self.channels == "rgb" else images[..., ::-1]
        turned = np.ascontiguousarray(ordered.transpose(0, 3, 1, 2) if self.layout == "nchw" else ordered)
        if self.element_type == "uint8":
            return turned
        normalised: npt.NDArray[np.float32] = (turned.astype(np.float32) - self.offset) / self.scale
        return normalised.astype(ELEMENT_TYPES[self.element_type])

    def _constant(self, values: Triple) -> npt.NDArray[np.float32]:
        ordered = values if self.channels == "rgb" else values[::-1]
        shape = (1, 3, 1, 1) if self.layout == "nchw" else (1, 1, 1, 3)
        return (255 * np.array(ordered)).astype(np.float32).reshape(shape)


@dataclass(frozen=True, slots=True)
class Back:
    """What a network gives."""

    output: str
    element_type: str
    classes: int
    rows: bool
    """[N, classes]; False for the same values in another shape."""
    ending: Ending


@dataclass(frozen=True, slots=True)
class Fit:
    """Both."""

    front: Front
    back: Back


def adapt(proto: onnx.ModelProto, fit: Fit, *, freed_from: int | None = None) -> ir.Model:
    """The graph with nodes in front and behind. `proto` stays as it is.

    `freed_from`: where the graph reshapes to that number of images, it takes over the number that comes instead. This
    frees many graphs that were exported for one image.
    """
    model = ir.from_proto(proto)
    passes.RemoveInitializersFromInputsPass()(model)
    _forget_shapes(model.graph)
    if freed_from is not None:
        _copy_batch(model.graph, freed_from)
    fitting = _Fitting(model.graph)
    fitting.put_in_front(fit.front)
    fitting.put_behind(fit.back)
    model.graph.sort()
    passes.RemoveUnusedNodesPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    # Before version 4 of the format, weights had to be inputs too.
    model.ir_version = max(model.ir_version, 4)
    return model


def way_to(operator: str, graph: ir.Graph, output: str) -> list[ir.Node]:
    """The nodes from an output back to the `operator` that it shows, that one last. Empty when it shows another."""
    value: ir.Value | None = next(value for value in graph.outputs if value.name == output)
    way: list[ir.Node] = []
    while value is not None and (node := value.producer()) is not None and node.domain in ("", "ai.onnx"):
        way.append(node)
        if node.op_type == operator:
            return way
        if node.op_type not in SIZE_KEEPERS:
            break
        value = node.inputs[0]
    return []


class _Fitting:
    """Adds nodes and constants to a graph, under names that it does not use."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._tape = ir.tape.Tape(graph)
        self._taken = {value.name for node in graph.all_nodes() for value in node.outputs}
        for part in (graph, *graph.subgraphs()):
            self._taken |= {*part.initializers, *(value.name for value in part.inputs)}

    def put_in_front(self, front: Front) -> None:
        """An input of images, and what makes of them what the network takes."""
        shape = ir.Shape(["N", front.size, front.size, 3])
        image = ir.Value(name=self._free("image"), type=ir.TensorType(ir.DataType.UINT8), shape=shape)
        (replaced,) = self._graph.inputs
        self._graph.inputs[0] = image
        prepared = self._normalised(self._ordered(image, front), front)
        replaced.replace_all_uses_with(prepared, replace_graph_outputs=True)

    def put_behind(self, back: Back) -> None:
        """One output of logits."""
        value = self._before_softmax(back) if back.ending == "softmax" else self._output(back)
        if back.element_type != "float":
            value = self._op("Cast", value, to=ir.DataType.FLOAT)
        if not back.rows:
            value = self._op("Reshape", value, np.array([-1, back.classes]))
        if back.ending == "probabilities":
            value = self._op("Log", self._op("Add", value, np.array(LEAST_PROBABILITY, np.float32)))
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["N", back.classes])
        self._graph.outputs[:] = [value]

    def _ordered(self, image: ir.Value, front: Front) -> ir.Value:
        """Axes and colours, while a sample is still one byte."""
        if front.layout == "nchw":
            image = self._op("Transpose", image, perm=[0, 3, 1, 2])
        if front.channels == "bgr":
            image = self._op("Gather", image, np.array([2, 1, 0]), axis=1 if front.layout == "nchw" else 3)
        return image

    def _normalised(self, image: ir.Value, front: Front) -> ir.Value:
        if front.element_type == "uint8":
            return image
        image = self._op("Cast", image, to=ir.DataType.FLOAT)
        if front.offset.any():
            image = self._op("Sub", image, front.offset)
        if not (front.scale == 1).all():
            image = self._op("Div", image, front.scale)
        wanted = IR_TYPES[front.element_type]
        return image if wanted == ir.DataType.FLOAT else self._op("Cast", image, to=wanted)

    def _output(self, back: Back) -> ir.Value:
        return next(value for value in self._graph.outputs if value.name == back.output)

    def _before_softmax(self, back: Back) -> ir.Value:
        *behind, softmax = way_to("Softmax", self._graph, back.output)
        (scores,) = softmax.inputs
        if not behind:
            return cast(ir.Value, scores)
        behind[-1].replace_input_with(0, scores)
        return self._output(back)

    def _op(self, operator: str, *inputs: ir.Value | Array, **attributes: int | list[int]) -> ir.Value:
        values = [value if isinstance(value, ir.Value) else self._constant(value) for value in inputs]
        added: ir.Value = self._tape.op(operator, values, attributes)
        added.name = self._free(operator.lower())
        return added

    def _constant(self, value: Array) -> ir.Value:
        name = self._free("constant")
        return self._tape.initializer(ir.tensor(value, name=name), name)

    def _free(self, name: str) -> str:
        number, free = 0, name
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free)
        return free


def _forget_shapes(graph: ir.Graph) -> None:
    """Recorded sizes speak of the batch that the graph was exported for."""
    for node in graph.all_nodes():
        for value in node.outputs:
            value.shape = None


def _copy_batch(graph: ir.Graph, batch: int) -> None:
    """0 as the first size of a Reshape takes over what comes."""
    for node in graph:
        shape = _fixed_reshape(node)
        if shape is not None and shape.size and shape[0] == batch:
            freed = ir.tensor(np.concatenate([[0], shape[1:]]).astype(np.int64), name=f"{node.outputs[0].name}_shape")
            value = ir.Value(name=freed.name, const_value=freed, type=ir.TensorType(ir.DataType.INT64))
            graph.register_initializer(value)
            node.replace_input_with(1, value)


def _fixed_reshape(node: ir.Node) -> npt.NDArray[np.int64] | None:
    """The constant shape that a node reshapes something computed to. None for any other node."""
    if node.op_type != "Reshape" or len(node.inputs) != 2 or node.attributes.get_int("allowzero", 0) == 1:
        return None
    data, shape = (ir.convenience.get_const_tensor(value) for value in node.inputs if value is not None)
    return None if data is not None or shape is None else shape.numpy()
