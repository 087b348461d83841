"""What ONNX Runtime leaves on the table: `python -m benchmarks.graph --store .store-untrained`.

Forms of the same network take turns in one process, on one thread, an image at a time, by the processor time of the
thread: *straight* is the graph as the runtime opens it, *kept* the form that is served (`service/pipeline/graphs.py`),
*resized* the straight one with each gate spread to the size of its image by a nearest-neighbour resize, which keeps the
blocked layout as well, for a fixed batch. Where memory lies changes a session's times by a few per cent for as long as
it lives, so each round opens all of them anew; a round's figure is the smallest time of each form, and its ratio to
that of the straight one. The profile is the runtime's own: the smallest time of each node, summed by operator.
"""

import json
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import typer
from onnx import helper, numpy_helper

from benchmarks import machine, report
from benchmarks.report import Table, ms, say
from benchmarks.server import variants
from benchmarks.stats import Spread
from service.pipeline.graphs import GRAPH, open_session
from service.pipeline.session import SessionOptions
from service.pipeline.store import StoredVariant

RUNS = 8
"""Of each form in a round, of which the quickest counts."""
PROFILED = 12
REORDERS = ("ReorderInput", "ReorderOutput")
Run = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Form:
    """One way to run a network."""

    name: str
    ms: Spread
    """Of the rounds."""
    ratio: Spread
    """Straight ÷ this, of the rounds: above 1 it is quicker."""
    off: float
    """The largest difference of its logits from the straight ones, as a share of the largest of those."""
    reorders: int
    """Changes of layout in the optimised graph."""
    nodes: int


@dataclass(frozen=True, slots=True)
class Network:
    """One variant."""

    variant: str
    forms: tuple[Form, ...]
    profile_ms: Mapping[str, Mapping[str, float]]
    """By form and operator."""


class Forms:
    """Files of one variant's forms, and sessions of them."""

    def __init__(self, entry: StoredVariant, folder: Path) -> None:
        self._entry, self._folder = entry, folder
        self._resized = folder / "resized.onnx"
        onnx.save(resized(onnx.load(entry.graph)), self._resized)
        # Straight and resized as the runtime optimises them, to be counted and profiled.
        self.optimised = {"straight": folder / "straight.optimised.onnx", "resized": folder / "resized.optimised.onnx"}
        for name, path in self.optimised.items():
            straight(self._path(name), optimised=path)
        open_session(entry, SessionOptions(graphs=folder / "graphs"), say)
        (kept,) = (folder / "graphs").iterdir()
        self.optimised["kept"] = kept / GRAPH

    def open(self) -> dict[str, Run]:
        """A session of each, anew."""
        forms = {name: _run(straight(self._path(name))) for name in ("straight", "resized")}
        return forms | {"kept": open_session(self._entry, SessionOptions(graphs=self._folder / "graphs"), say).run}

    def _path(self, name: str) -> Path:
        return self._entry.graph if name == "straight" else self._resized


def straight(path: Path, *, optimised: Path | None = None, **more: object) -> onnxruntime.InferenceSession:
    """As the service opened graphs before any were kept; `more` are attributes of the options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    for name, value in more.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession) -> Run:
    return lambda image: session.run(None, {session.get_inputs()[0].name: image})[0]


def resized(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model for one image, each gate (a sigmoid that multiplies) spread over its image."""
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = onnx.shape_inference.infer_shapes(model)
    shapes = {one.name: [d.dim_value for d in one.type.tensor_type.shape.dim] for one in model.graph.value_info}
    sigmoids = {node.output[0] for node in model.graph.node if node.op_type == "Sigmoid"}
    nodes = []
    for node in model.graph.node:
        image, gate = (*node.input, "", "")[:2]
        if node.op_type == "Mul" and gate in sigmoids and shapes[gate] != shapes[image]:
            sizes = f"{gate}_scales"
            scales = np.array([1, 1, *shapes[image][2:]], np.float32)
            model.graph.initializer.append(numpy_helper.from_array(scales, sizes))
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            nodes.append(helper.make_node("Resize", [gate, "", sizes], [f"{gate}_spread"], **how))
            node.input[1] = f"{gate}_spread"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def compare(entry: StoredVariant, *, rounds: int) -> Network:
    """All forms of one variant."""
    size_px = entry.manifest.preprocessing.input_size_px
    image = np.random.default_rng(0).integers(0, 256, (1, size_px, size_px, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        forms = Forms(entry, Path(folder))
        logits = {name: run(image) for name, run in forms.open().items()}
        times = [_round(forms.open(), image) for _ in range(rounds)]
        found = [_form(name, times, logits, forms.optimised[name]) for name in logits]
        profile = {name: profiled(forms.optimised[name], image) for name in ("straight", "kept")}
    return Network(entry.manifest.name, tuple(found), profile)


def _round(runs: Mapping[str, Run], image: npt.NDArray[np.uint8]) -> dict[str, float]:
    """The least milliseconds of each form, which take turns in random order."""
    for run in runs.values():
        run(image)
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(RUNS):
        for name in random.sample(list(runs), len(runs)):
            started_s = time.thread_time()
            runs[name](image)
            times[name].append((time.thread_time() - started_s) * 1e3)
    return {name: min(ones) for name, ones in times.items()}


def _form(
    name: str, times: list[dict[str, float]], logits: Mapping[str, npt.NDArray[np.float32]], optimised: Path
) -> Form:
    right = logits["straight"]
    kinds = Counter(node.op_type for node in onnx.load(optimised, load_external_data=False).graph.node)
    return Form(
        name=name,
        ms=Spread.of([one[name] for one in times]),
        ratio=Spread.of([one["straight"] / one[name] for one in times]),
        off=float(np.abs(logits[name] - right).max() / np.abs(right).max()),
        reorders=sum(kinds[kind] for kind in REORDERS),
        nodes=kinds.total(),
    )


def profiled(optimised: Path, image: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Milliseconds by operator: the smallest of each node, summed."""
    with tempfile.TemporaryDirectory() as folder:
        off = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        prefix = str(Path(folder) / "profile")
        session = straight(optimised, enable_profiling=True, profile_file_prefix=prefix, graph_optimization_level=off)
        for _ in range(PROFILED):
            _run(session)(image)
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"] / 1e3)
    found: Counter[str] = Counter()
    for (kind, _), ones in nodes.items():
        found[kind] += min(ones)  # type: ignore[assignment]
    return {kind: round(value, 3) for kind, value in found.most_common()}


def forms_table(networks: list[Network]) -> Table:
    """One row for each form, and their sums."""
    rows = [
        [f"{network.variant} {form.name}", ms(form.ms.median), ms(form.ms.least), f"{form.ratio.median:.3f}",
         f"{form.ratio.p5:.3f}–{form.ratio.p95:.3f}", f"{form.off:.0e}" if form.off else "0", str(form.reorders),
         str(form.nodes)]
        for network in networks for form in network.forms
    ]  # fmt: skip
    for form in networks[0].forms:
        summed = total(networks, form.name)
        rows.append([f"sum {form.name}", ms(summed), "", f"{total(networks, 'straight') / summed:.3f}", "", "", "", ""])
    headings = ("", "ms", "least", "straight ÷ this", "p5–p95", "off", "reorders", "nodes")
    return Table("Forms of the same network", headings, rows, "Medians of the rounds' smallest times. One thread.")


def total(networks: list[Network], form: str) -> float:
    """Milliseconds of one run of each network."""
    return sum(one.ms.median for network in networks for one in network.forms if one.name == form)


def profile_table(networks: list[Network]) -> Table:
    """One row for each operator; straight and kept beside each other."""
    kinds = list(dict.fromkeys(kind for network in networks for kind in network.profile_ms["straight"]))
    rows = []
    for kind in kinds:
        cells = [f"{one.profile_ms[form].get(kind, 0):.2f}" for one in networks for form in ("straight", "kept")]
        rows.append([kind, *cells])
    sums = [f"{sum(one.profile_ms[form].values()):.2f}" for one in networks for form in ("straight", "kept")]
    headings = ("", *(f"{one.variant} {form}" for one in networks for form in ("straight", "kept")))
    return Table("Where the time goes (ms)", headings, [*rows, ["sum", *sums]], "Smallest time of each node, summed.")


def main(
    store: Annotated[Path, typer.Option(help="Model store.")],
    names: Annotated[str, typer.Option(help="Which variants.")] = "b0,b1,b2,b3,b4",
    rounds: Annotated[int, typer.Option(min=1, help="Each with sessions of its own.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Measure, and print the tables."""
    here, others = machine.describe(), list[machine.Others]()
    wanted = [entry for entry in variants(store) if entry.manifest.name in names.split(",")]
    with machine.watching("graph", others):
        networks = [compare(entry, rounds=rounds) for entry in wanted]
    report.show(
        [report.machine_table(here), report.others_table(others), forms_table(networks), profile_table(networks)]
    )
    if out is not None:
        sections = {
            "machine": asdict(here),
            "others": list(map(asdict, others)),
            "networks": list(map(asdict, networks)),
        }
        report.write(out, sections)
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
