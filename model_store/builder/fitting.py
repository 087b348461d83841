"""What a foreign network takes and gives: by its file, by what its importer tells, and by running it.

A file rarely says everything. The order of axes shows in the shape or in what the network runs on; the classes show in
how many values a run gives; whether they are probabilities, in what they add up to. What stays open is asked for.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from model_store.builder.adapt import Back, Channels, Ending, Fit, Front, Triple, way_to
from model_store.builder.build import IMAGENET_MEAN, IMAGENET_STD
from model_store.builder.foreign import ELEMENT_TYPES, Array, Foreign, ImportRefused, Layout, Port

Normalisation = tuple[Triple, Triple]
"""Mean and standard deviation of pixels in [0, 1], red first."""

IMAGENET: Normalisation = (IMAGENET_MEAN, IMAGENET_STD)
AS_IT_IS: Normalisation = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
RANGES: dict[str, Normalisation] = {
    "0-1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "0-255": AS_IT_IS,
    "-1-1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""By what a network takes in place of 0 … 255."""

LEAST_PX, MOST_PX = 32, 2048
SCORES = ("float", "float16", "double")
COLOUR_AXIS: dict[Layout, int] = {"nchw": 1, "nhwc": 3}
SUM_TOLERANCE = 1e-2
"""Probabilities in half precision add up to 1 about so well."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the importer says of the network. None leaves it to the file."""

    size: int | None = None
    layout: Layout | None = None
    channels: Channels = "rgb"
    normalisation: Normalisation | None = None
    """None: ImageNet's, or nothing for a network that takes bytes."""
    output: str | None = None


def fit(model: Foreign, told: Told, *, classes: int, labels: str) -> Fit:
    """What lies between the service and the network. `labels` names the classes in messages. Raises `ImportRefused`."""
    front = _front(model, told)
    samples = [front.prepare(image[None]) for image in noise(front.size)]
    output = _output(model, samples[0], told.output, classes)
    values = [model.run_one(sample, output.name) for sample in samples]
    rows = np.array([model.first_row(value) for value in values])
    if rows.shape[1] != classes:
        found = f"{rows.shape[1]} values an image ({list(values[0].shape)})"
        raise ImportRefused(f"{model.name} gives {found}, but {labels} has {classes} classes")
    if not np.isfinite(rows).all():
        raise ImportRefused(f"{model.name} gives values that are not finite")
    in_rows = values[0].shape == (model.batch, classes)
    back = Back(output.name, str(output.element_type), classes, in_rows, _ending(model, output.name, rows))
    return Fit(front, back)


def noise(size: int) -> npt.NDArray[np.uint8]:
    """Two images, [2, size, size, 3]."""
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)


def _front(model: Foreign, told: Told) -> Front:
    layout = _layout(model, told)
    mean, std = _normalisation(model, told)
    return Front(_size(model, layout, told.size), layout, told.channels, str(model.image.element_type), mean, std)


def _layout(model: Foreign, told: Told) -> Layout:
    image = model.image
    possible = [layout for layout in _possible_layouts(image) if told.layout in (None, layout)]
    if not possible:
        wanted = f"{told.layout.upper()} with 3 colours" if told.layout else "3 colours on any axis"
        raise ImportRefused(f"{model.name} takes {image}, which is not {wanted}")
    if len(possible) == 1:
        return possible[0]
    size = told.size or next((size for size in image.shape[1:] if isinstance(size, int)), None)
    if size is None:
        raise ImportRefused(f"{model.name} takes images of any size, {image}: say --input-size")
    return _layout_by_run(model, size)


def _possible_layouts(image: Port) -> list[Layout]:
    """Those that the shape allows; one, where it shows the colours."""
    if not image.shape:
        return list(COLOUR_AXIS)
    shown = [layout for layout, axis in COLOUR_AXIS.items() if image.shape[axis] == 3]
    return shown or [layout for layout, axis in COLOUR_AXIS.items() if not isinstance(image.shape[axis], int)]


def _layout_by_run(model: Foreign, size: int) -> Layout:
    """The one that the network runs on; its first convolution knows."""
    refusals = {layout: _refusal(model, layout, size) for layout in COLOUR_AXIS}
    runs = [layout for layout, refusal in refusals.items() if refusal is None]
    if len(runs) == 1:
        return runs[0]
    if runs:
        raise ImportRefused(f"{model.name} runs on either order of axes: say --layout nchw or --layout nhwc")
    raise ImportRefused(str(refusals["nchw"]))


def _refusal(model: Foreign, layout: Layout, size: int) -> ImportRefused | None:
    shape = (1, 3, size, size) if layout == "nchw" else (1, size, size, 3)
    try:
        model.run_one(np.zeros(shape, ELEMENT_TYPES[str(model.image.element_type)]), model.outputs[0].name)
    except ImportRefused as error:
        return error
    return None


def _size(model: Foreign, layout: Layout, told: int | None) -> int:
    image = model.image
    axes = image.shape[2:] if layout == "nchw" else image.shape[1:3]
    fixed = {size for size in axes if isinstance(size, int)}
    if len(fixed) > 1:
        raise ImportRefused(f"{model.name} takes {image}; images are square here")
    if fixed and told not in (None, *fixed):
        raise ImportRefused(f"{model.name} takes {image}, not --input-size {told}")
    size = told or next(iter(fixed), None)
    if size is None:
        raise ImportRefused(f"{model.name} takes images of any size, {image}: say --input-size")
    if not LEAST_PX <= size <= MOST_PX:
        raise ImportRefused(f"{model.name} takes images of {size} pixels; {LEAST_PX} to {MOST_PX} are served")
    return size


def _normalisation(model: Foreign, told: Told) -> Normalisation:
    if model.image.element_type != "uint8":
        return told.normalisation or IMAGENET
    if told.normalisation not in (None, AS_IT_IS):
        raise ImportRefused(f"{model.name} takes bytes and normalises them itself: leave out --mean, --std and --range")
    return AS_IT_IS


def _output(model: Foreign, image: Array, told: str | None, classes: int) -> Port:
    """The one asked for, the only one, or the only one with a score for each class."""
    outputs, listed = model.outputs, "; ".join(map(str, model.outputs))
    if told is not None:
        outputs = tuple(output for output in outputs if output.name == told)
        if not outputs:
            raise ImportRefused(f"{model.name} has no output {told!r}; it has {listed}")
    scores = [output for output in outputs if output.element_type in SCORES]
    if len(outputs) > 1:
        scores = [output for output in scores if model.run_one(image, output.name).size == classes * model.batch]
    if len(scores) == 1:
        return scores[0]
    if len(outputs) == 1:
        raise ImportRefused(f"{model.name} gives {listed}; scores are a tensor of {', '.join(SCORES)}")
    found = "more than one" if scores else "none"
    raise ImportRefused(
        f"{model.name} has {len(outputs)} outputs, {found} with a score a class; say --output: {listed}"
    )


def _ending(model: Foreign, output: str, rows: npt.NDArray[np.float64]) -> Ending:
    graph = ir.from_proto(model.proto).graph
    in_softmax = bool(way_to("Softmax", graph, output))
    if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=SUM_TOLERANCE):
        return "softmax" if in_softmax else "probabilities"
    if in_softmax:
        raise ImportRefused(f"{model.name} ends in a softmax, but not one over the classes")
    if way_to("Sigmoid", graph, output):
        raise ImportRefused(
            f"{model.name} ends in a sigmoid: its classes do not exclude each other, as they do in the answers here"
        )
    return "logits"
