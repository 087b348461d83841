"""Ways to quantise one network, side by side: `python -m benchmarks.quantising --store .store --data IMAGES.zip`.

Which parts become integers, with scales by channel or by layer, and how ranges are found. Some of the images find the
ranges; the others judge: top-1, how many answers stay what they were, and the time of a run, in turns on one thread.
`effserve quantize` has its defaults from this (docs/precision.md); it searches by itself, and asks for no labels.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import typer
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks import machine, report
from benchmarks.report import Table, ms, say
from benchmarks.stats import Spread
from benchmarks.turns import turns
from model_store.images import open_images
from service.evaluation import beside
from service.evaluation.plan import Plan, make_plan
from service.pipeline.cpus import saturates
from service.pipeline.session import SessionOptions

FLOAT = "float32"
Pixels = np.ndarray
"""[images, size, size, 3], bytes."""


@dataclass(frozen=True)
class Way:
    """One, beside the others."""

    what: str
    nodes: Callable[[onnx.NodeProto], bool] = lambda _: True
    """What is quantised."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    images: int | None = None
    """To find ranges; all there are where None. The histograms of the last two ways take gigabytes."""


def _pointwise(node: onnx.NodeProto) -> bool:
    kernel = next((list(one.ints) for one in node.attribute if one.name == "kernel_shape"), [])
    return node.op_type == "Conv" and kernel == [1, 1] and "/se/" not in node.name


WAYS = (
    Way("everything, minmax"),
    Way("everything, one scale a layer", settings={"per_channel": False}),
    Way("everything, signed activations", settings={"activation_type": QuantType.QInt8}),
    Way("all but squeeze-and-excitation", lambda node: "/se/" not in node.name),
    Way("convolutions only", lambda node: node.op_type == "Conv"),
    Way("pointwise convolutions only", _pointwise),
    Way(
        "everything, percentile 99.99",
        settings={"calibrate_method": CalibrationMethod.Percentile, "extra_options": {"CalibPercentile": 99.99}},
        images=32,
    ),
    Way("everything, entropy", settings={"calibrate_method": CalibrationMethod.Entropy}, images=32),
)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Images one by one."""

    def __init__(self, name: str, images: Pixels) -> None:
        self._left = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._left, None)


@dataclass(frozen=True, slots=True)
class Judged:
    """A graph on the images that judge."""

    classes: np.ndarray
    right: int
    ms: Spread


def graphs(graph: Path, folder: Path, images: Pixels) -> Iterator[tuple[str, bytes]]:
    """The original as it is, and one graph for each way."""
    yield FLOAT, graph.read_bytes()
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(graph), str(prepared))
    nodes = onnx.load(prepared).graph.node
    name = onnx.load(prepared).graph.input[0].name
    for way in WAYS:
        say(f"{way.what} …")
        wanted = [node.name for node in nodes if way.nodes(node)]
        usual = {
            "per_channel": True,
            "reduce_range": saturates(),
            "nodes_to_quantize": wanted,
            "activation_type": QuantType.QUInt8,
        }
        quantize_static(
            str(prepared),
            str(folder / "quantised.onnx"),
            _Reader(name, images[: way.images]),
            quant_format=QuantFormat.QDQ,
            weight_type=QuantType.QInt8,
            **usual | dict(way.settings),
        )
        yield way.what, (folder / "quantised.onnx").read_bytes()


def measure(plan: Plan, *, settling: int, rounds: int) -> dict[str, Judged]:
    """By way, the original first."""
    (subject,) = plan.subjects
    entry, split = subject.entry, beside.split(plan.samples, settling, 0)
    pixels = partial(beside.prepared, plan.images, preprocessing=entry.manifest.preprocessing)
    labels = np.array([subject.known[sample.label] for sample in split.judging])
    judging = pixels(split.judging)
    with tempfile.TemporaryDirectory() as folder:
        runs = {what: _run(content) for what, content in graphs(entry.graph, Path(folder), pixels(split.settling))}
    times = turns({what: partial(run, judging[:1]) for what, run in runs.items()}, rounds=rounds)
    found = {what: np.array([run(image[None]).argmax() for image in judging]) for what, run in runs.items()}
    return {what: Judged(found[what], int((found[what] == labels).sum()), times[what]) for what in runs}


def _run(content: bytes) -> Callable[[Pixels], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def table(found: Mapping[str, Judged], variant: str) -> Table:
    """One row for each way."""
    original = found[FLOAT].classes
    rows: Sequence[Sequence[str]] = [
        (
            what,
            f"{one.right / len(original):.1%}",
            f"{(one.classes == original).mean():.1%}",
            f"{ms(one.ms.least)} ({ms(one.ms.median)})",
        )
        for what, one in found.items()
    ]
    note = f"Of {len(original)} images. Milliseconds: least and median, one thread."
    return Table(f"Ways to quantise {variant}", ("", "top-1", "answers unchanged", "a run"), rows, note)


def main(
    store: Annotated[Path, typer.Option(help="Model store with the variant, trained.")],
    data: Annotated[Path, typer.Option(help="Folder or ZIP of images by class.")],
    variant: Annotated[str, typer.Option(help="What is quantised.")] = "b0",
    settling: Annotated[int, typer.Option(help="Images to find ranges; the others judge.")] = 100,
    rounds: Annotated[int, typer.Option(min=3, help="Timed runs of each way.")] = 60,
) -> None:
    """Measure, and print the table."""
    plan = make_plan(open_images(data), store, names=[variant], limit=None, options=SessionOptions())
    here = machine.describe()
    report.show([table(measure(plan, settling=settling, rounds=rounds), variant), report.machine_table(here)])


if __name__ == "__main__":
    typer.run(main)
