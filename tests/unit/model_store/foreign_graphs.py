"""Small ONNX classifiers as other tools write them, and what they give when they are run by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from model_store.builder.fitting import Told
from model_store.builder.imported import Wishes, add, from_file
from model_store.builder.store import Stored
from model_store.manifest import read
from service.pipeline.session import Session, SessionOptions
from tests.unit.model_store.small import CLASSES, labels_file

SIZE = 32
CHANNELS = 8
OPSET = 17
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Dimension = int | str | None
Array = npt.NDArray[np.generic]


def network(
    tail: Sequence[NodeProto] = (),
    outputs: Sequence[ValueInfoProto] = (),
    *,
    layout: str = "nchw",
    dtype: npt.DTypeLike = np.float32,
    shape: Sequence[Dimension] | None = (),
    classes: int = CLASSES,
    constants: Mapping[str, Array] | None = None,
    flatten: NodeProto | None = None,
    opset: int = OPSET,
    ir_version: int = 9,
) -> onnx.ModelProto:
    """Convolution, ReLU, average, `flatten`, classifier: `x` → `scores` [N, classes], then `tail` up to `outputs`.

    Bytes are brought to [0, 1] inside; all else is for the caller to normalise. `shape` is that of `x`: None for not
    even the number of axes.
    """
    inner = np.dtype(np.float32 if dtype == np.uint8 else dtype)
    usual = ("N", 3, SIZE, SIZE) if layout == "nchw" else ("N", SIZE, SIZE, 3)
    constants = _weights(classes, inner) | dict(constants or {})
    nodes = [
        *_entry(layout, np.dtype(dtype)),
        helper.make_node("Conv", ["pixels", "kernel", "shift"], ["h1"], strides=[2, 2], name="conv"),
        helper.make_node("Relu", ["h1"], ["h2"]),
        helper.make_node("GlobalAveragePool", ["h2"], ["h3"]),
        flatten or helper.make_node("Flatten", ["h3"], ["h4"]),
        helper.make_node("Gemm", ["h4", "matrix", "bias"], ["scores"]),
        *tail,
    ]
    image = tensor("x", dtype, None if shape is None else (shape or usual))
    return model(nodes, [image], outputs or [tensor("scores", inner, ["N", classes])], constants, opset, ir_version)


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Mapping[str, Array],
    opset: int = OPSET,
    ir_version: int = 9,
) -> onnx.ModelProto:
    """A model of these, with those of the constants that a node asks for."""
    asked = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in asked]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def node(operator: str, inputs: str, output: str, **attributes: Any) -> NodeProto:  # noqa: ANN401 - whatever ONNX takes
    """A node; inputs are separated by spaces."""
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def tensor(name: str, dtype: npt.DTypeLike, shape: Sequence[Dimension] | None) -> ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def saved(folder: Path, made: onnx.ModelProto, name: str = "mine.onnx") -> Path:
    """The model as a file."""
    onnx.save(made, folder / name)
    return folder / name


def imported(path: Path, told: Told | None = None, classes: int = CLASSES) -> Stored:
    """The file as the variant `mine` of a store beside it."""
    labels = labels_file(path.parent, classes)
    return add(from_file(path, "MIT"), Wishes("mine", labels, told or Told()), path.parent / "store")


def photos(count: int = 3) -> npt.NDArray[np.uint8]:
    """Images that differ from those an import is tried on, [count, SIZE, SIZE, 3]."""
    return np.random.default_rng(7).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def normalised(
    images: npt.NDArray[np.uint8], mean: Sequence[float] = IMAGENET[0], std: Sequence[float] = IMAGENET[1]
) -> npt.NDArray[np.float64]:
    """(x / 255 − mean) / std, [N, 3, size, size]."""
    values: npt.NDArray[np.float64] = ((images / 255 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    return values


def by_hand(path: Path, prepared: Array, output: str = "scores") -> npt.NDArray[np.float64]:
    """What the file gives for images prepared by the caller, one run each: rows [N, values]."""
    made = onnx.load(path)
    place = [value.name for value in made.graph.output].index(output)
    return np.array([run(made, image[None])[place].reshape(-1) for image in prepared], np.float64)


def run(made: onnx.ModelProto, image: Array) -> list[Array]:
    """All outputs of one run of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values: list[Array] = session.run(None, {session.get_inputs()[0].name: image})
    return values


def served(stored: Stored, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """What the service's own session gives for all images at once."""
    manifest = read(stored.folder)
    size, classes = manifest.preprocessing.input_size_px, manifest.labels.classes
    session = Session(stored.folder / "model.onnx", input_size_px=size, classes=classes, options=SessionOptions())
    return session.run(images).astype(np.float64)


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows of probabilities."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _entry(layout: str, dtype: np.dtype[np.generic]) -> list[NodeProto]:
    """From `x` to `pixels`, NCHW and floating-point."""
    turn = [node("Transpose", "x", "turned", perm=[0, 3, 1, 2])] if layout == "nhwc" else []
    last = "turned" if turn else "x"
    if dtype == np.uint8:
        return [*turn, node("Cast", last, "whole", to=TensorProto.FLOAT), node("Div", "whole byte", "pixels")]
    return [*turn, node("Identity", last, "pixels")]


def _weights(classes: int, dtype: np.dtype[np.generic]) -> dict[str, Array]:
    draw = np.random.default_rng(1)
    return {
        "kernel": draw.normal(size=(CHANNELS, 3, 3, 3)).astype(dtype),
        "shift": draw.normal(size=CHANNELS).astype(dtype),
        "matrix": draw.normal(size=(CHANNELS, classes)).astype(dtype),
        "bias": draw.normal(size=classes).astype(dtype),
        "byte": np.array(255, dtype),
    }
