"""Networks made elsewhere: what is adapted gives what it gave before, and what is not is refused with the reason."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import QuantFormat, quantize_static

from model_store import manifest as manifests
from model_store.builder.fitting import AS_IT_IS, RANGES, Told
from model_store.builder.foreign import ImportRefused
from model_store.builder.imported import Wishes, add, from_file
from model_store.manifest import Accuracy, AccuracySource, ImportedArchitecture, WeightsKind
from service.pipeline.store import scan
from tests.unit.model_store.foreign_graphs import (
    CHANNELS,
    SIZE,
    by_hand,
    imported,
    model,
    network,
    node,
    normalised,
    photos,
    saved,
    served,
    softmax,
    tensor,
)
from tests.unit.model_store.small import CLASSES, labels_file

Images = npt.NDArray[np.uint8]


def _nchw(images: Images) -> npt.NDArray[np.float32]:
    return normalised(images).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A network, and how its user prepares images for it."""

    made: Callable[[], onnx.ModelProto]
    prepare: Callable[[Images], npt.NDArray[Any]] = _nchw
    told: Told = Told()  # noqa: RUF009 - frozen
    output: str = "scores"
    tolerance: float = 1e-5


def _in_double() -> onnx.ModelProto:
    """ONNX Runtime has no convolution in double precision, but matrix products."""
    matrix = np.random.default_rng(2).normal(size=(3 * SIZE * SIZE, CLASSES))
    nodes = [node("Flatten", "x", "flat"), node("MatMul", "flat matrix", "scores")]
    image = tensor("x", np.float64, ["N", 3, SIZE, SIZE])
    return model(nodes, [image], [tensor("scores", np.float64, ["N", CLASSES])], {"matrix": matrix})


def _weights_as_inputs() -> onnx.ModelProto:
    """As files of before ONNX 1.5 have them."""
    made = network(opset=8, ir_version=3)
    made.graph.input.extend(tensor(w.name, np.float32, list(w.dims)) for w in made.graph.initializer)
    return made


def _in_a_function() -> onnx.ModelProto:
    """The classifier's end as a function of the model's own."""
    made = network([helper.make_node("Double", ["scores"], ["twice"], domain="mine")], [tensor("twice", "f4", None)])
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opset = [helper.make_opsetid("", 17)]
    made.functions.append(helper.make_function("mine", "Double", ["a"], ["b"], body, opset))
    made.opset_import.append(helper.make_opsetid("mine", 1))
    return made


def _renamed() -> onnx.ModelProto:
    """Under names that the nodes in front would like to have."""
    made = network()
    names = {"x": "sub", "pixels": "image", "kernel": "constant", "h1": "transpose", "scores": "cast"}
    for found in made.graph.node:
        found.input[:] = [names.get(name, name) for name in found.input]
        found.output[:] = [names.get(name, name) for name in found.output]
    for value in (*made.graph.input, *made.graph.output):
        value.name = names.get(value.name, value.name)
    for weight in made.graph.initializer:
        weight.name = names.get(weight.name, weight.name)
    return made


ANY = [tensor("scores", "f4", None)]
FLAT = {"one_row": np.array([1, CHANNELS])}
IN_A_COLUMN = {"column": np.array([0, CLASSES, 1, 1])}
ONE_ROW = node("Reshape", "h3 one_row", "h4")
COLUMN = node("Reshape", "scores column", "columns")
OPEN = ("N", "C", "H", "W")

CASES = {
    "NCHW float": Case(network),
    "NHWC float": Case(lambda: network(layout="nhwc"), lambda images: _nchw(images).transpose(0, 2, 3, 1)),
    "NCHW bytes": Case(lambda: network(dtype=np.uint8), lambda images: images.transpose(0, 3, 1, 2)),
    "NHWC bytes": Case(lambda: network(layout="nhwc", dtype=np.uint8), lambda images: images),
    "half precision": Case(
        lambda: network(dtype=np.float16), lambda images: normalised(images).astype(np.float16), tolerance=2e-3
    ),
    "double precision": Case(_in_double, normalised),
    "one image at a time": Case(lambda: network(shape=(1, 3, SIZE, SIZE))),
    "reshapes to one image": Case(
        lambda: network(
            shape=(1, 3, SIZE, SIZE), flatten=ONE_ROW, constants=FLAT, outputs=[tensor("scores", "f4", None)]
        )
    ),
    "height and width open": Case(lambda: network(shape=("N", 3, "H", "W")), told=Told(size=SIZE)),
    "all sizes open, NCHW": Case(lambda: network(shape=OPEN), told=Told(size=SIZE)),
    "all sizes open, NHWC": Case(
        lambda: network(layout="nhwc", shape=OPEN), lambda images: _nchw(images).transpose(0, 2, 3, 1), Told(size=SIZE)
    ),
    "axes unknown": Case(lambda: network(shape=None), told=Told(size=SIZE)),
    "colours open": Case(lambda: network(shape=("N", None, SIZE, SIZE))),
    "blue first": Case(network, lambda images: _nchw(images)[:, ::-1], Told(channels="bgr")),
    "blue first, NHWC bytes": Case(
        lambda: network(layout="nhwc", dtype=np.uint8), lambda images: images[..., ::-1], Told(channels="bgr")
    ),
    "pixels in [0, 1]": Case(
        network, lambda images: (images / 255).transpose(0, 3, 1, 2).astype("f4"), Told(normalisation=RANGES["0-1"])
    ),
    "pixels in [-1, 1]": Case(
        network,
        lambda images: (images / 127.5 - 1).transpose(0, 3, 1, 2).astype("f4"),
        Told(normalisation=RANGES["-1-1"]),
    ),
    "pixels as they are": Case(
        network, lambda images: images.transpose(0, 3, 1, 2).astype("f4"), Told(normalisation=RANGES["0-255"])
    ),
    "own mean and deviation": Case(
        network,
        lambda images: normalised(images, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).astype("f4"),
        Told(normalisation=((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))),
    ),
    "scores [N, classes, 1, 1]": Case(
        lambda: network([COLUMN], [tensor("columns", "f4", None)], constants=IN_A_COLUMN), output="columns"
    ),
    "log-probabilities": Case(
        lambda: network([node("LogSoftmax", "scores", "log")], [tensor("log", "f4", None)]), output="log"
    ),
    "two outputs, one of scores": Case(
        lambda: network(outputs=[tensor("h4", "f4", None), tensor("scores", "f4", None)]),
    ),
    "two outputs of scores, one named": Case(
        lambda: network([node("Neg", "scores", "less")], [tensor("scores", "f4", None), tensor("less", "f4", None)]),
        told=Told(output="less"),
        output="less",
    ),
    "weights as inputs": Case(_weights_as_inputs),
    "a function of its own": Case(_in_a_function, output="twice"),
    "names taken": Case(_renamed, output="cast"),
    "the oldest opset": Case(lambda: network(opset=7)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_adapted_network_gives_what_it_gave(tmp_path: Path, case: Case) -> None:
    """For images of the service, three at once, the scores that its user gets by preparing them by hand."""
    path = saved(tmp_path, case.made())
    expected = by_hand(path, case.prepare(photos()), case.output)
    found = served(imported(path, case.told), photos())
    np.testing.assert_allclose(found, expected, atol=case.tolerance * np.abs(expected).max(), rtol=0)


PROBABILITIES = {
    "softmax": [node("Softmax", "scores", "p")],
    "softmax, reshaped": [node("Softmax", "scores", "p1"), node("Reshape", "p1 column", "p")],
    "softmax over [N, classes, 1, 1]": [COLUMN, node("Softmax", "columns", "p", axis=1)],
    "softmax by hand": [
        node("Exp", "scores", "e"), node("ReduceSum", "e axis", "sum", keepdims=1), node("Div", "e sum", "p"),
    ],
    "softmax, averaged with another": [
        node("Softmax", "scores", "p1"), node("Neg", "scores", "less"), node("Softmax", "less", "p2"),
        node("Mean", "p1 p2", "p"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("tail", PROBABILITIES.values(), ids=PROBABILITIES.keys())
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float", "half"])
def test_probabilities_come_out_of_the_service_as_the_network_gave_them(
    tmp_path: Path, tail: list[onnx.NodeProto], dtype: npt.DTypeLike
) -> None:
    """The service's softmax must not be the second."""
    constants = IN_A_COLUMN | {"axis": np.array([1])}
    path = saved(tmp_path, network(tail, [tensor("p", dtype, None)], dtype=dtype, constants=constants))
    expected = by_hand(path, normalised(photos()).astype(dtype), "p")
    found = softmax(served(imported(path), photos()))
    np.testing.assert_allclose(found, expected, atol=1e-6 if dtype == np.float32 else 2e-3)


def test_a_softmax_at_the_end_is_taken_off(tmp_path: Path) -> None:
    """Logits keep what a float32 probability near 0 or 1 has lost."""
    path = saved(tmp_path, network([node("Softmax", "scores", "p")], [tensor("p", "f4", None)]))
    graph = onnx.load(imported(path).folder / "model.onnx").graph
    assert "Softmax" not in {found.op_type for found in graph.node}


def test_a_probability_of_zero_stays_finite(tmp_path: Path) -> None:
    """Its logarithm is not; the service refuses to answer with what is not finite."""
    tail = [
        node("Mul", "scores far", "s"), node("Softmax", "s", "p1"), node("Mul", "p1 one", "p"),
    ]  # fmt: skip
    constants = {"far": np.array(1e4, np.float32), "one": np.array(1, np.float32)}
    path = saved(tmp_path, network(tail, [tensor("p", "f4", None)], constants=constants))
    assert (by_hand(path, _nchw(photos()), "p") == 0).any()
    assert np.isfinite(served(imported(path), photos())).all()


def test_sizes_recorded_for_one_image_are_dropped(tmp_path: Path) -> None:
    """The runtime would warn of each at every batch."""
    made = onnx.shape_inference.infer_shapes(network(shape=(1, 3, SIZE, SIZE)))
    graph = onnx.load(imported(saved(tmp_path, made)).folder / "model.onnx").graph
    computed = {value.name for value in made.graph.value_info}
    assert {"h1", "h2", "h3", "h4"} <= computed
    recorded = [value.name for value in graph.value_info if value.type.tensor_type.HasField("shape")]
    assert computed.intersection(recorded) == set()


def test_what_the_chosen_output_does_not_need_is_left_out(tmp_path: Path) -> None:
    """A second head costs neither time nor parameters."""
    other = [node("Gemm", "h4 matrix2 bias", "other"), node("Neg", "scores", "last")]
    outputs = [tensor("other", "f4", None), tensor("last", "f4", None)]
    constants = {"matrix2": np.ones((CHANNELS, CLASSES), np.float32)}
    stored = imported(saved(tmp_path, network(other, outputs, constants=constants)), Told(output="last"))
    plain = imported(saved(tmp_path, network(), "plain.onnx"))
    assert (stored.params, stored.macs) == (plain.params, plain.macs)
    assert "matrix2" not in {w.name for w in onnx.load(stored.folder / "model.onnx").graph.initializer}


def test_parameters_and_multiply_adds_are_counted(tmp_path: Path) -> None:
    """Each weight once; for one image, each position of the convolution and each class."""
    stored = imported(saved(tmp_path, network()))
    kernel, positions = CHANNELS * 3 * 3 * 3, 15 * 15
    assert stored.params == kernel + CHANNELS + CHANNELS * CLASSES + CLASSES
    assert stored.macs == kernel * positions + CHANNELS * CLASSES


def test_multiply_adds_are_those_of_one_image(tmp_path: Path) -> None:
    """Also where a run of the network has two."""
    two = imported(saved(tmp_path, network(shape=(2, 3, SIZE, SIZE)), "two.onnx"))
    assert two.macs == imported(saved(tmp_path, network())).macs


class _Calibration:
    """A few images, as the quantiser asks for them."""

    def __init__(self) -> None:
        self._images = iter(_nchw(photos(4)))

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        image = next(self._images, None)
        return None if image is None else {"x": image[None]}


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator], ids=["QDQ", "QOperator"])
def test_a_quantised_network_is_adapted_like_any_other(tmp_path: Path, form: QuantFormat) -> None:
    """Its scores are those it gave, its work that of the network it was made from."""
    plain = imported(saved(tmp_path, network(), "plain.onnx"))
    path = tmp_path / "mine.onnx"
    quantize_static(tmp_path / "plain.onnx", path, _Calibration(), quant_format=form)
    stored = imported(path)
    np.testing.assert_allclose(served(stored, photos()), by_hand(path, _nchw(photos())), rtol=1e-5)
    assert stored.macs == plain.macs


def test_what_norms_recorded_is_no_parameter(tmp_path: Path) -> None:
    """Mean and variance of a batch norm were not learnt; its scale and shift were."""
    constants = {name: np.ones(CLASSES, np.float32) for name in ("scale", "shift2", "mean", "variance")}
    tail = [node("BatchNormalization", "scores scale shift2 mean variance", "normed")]
    stored = imported(saved(tmp_path, network(tail, [tensor("normed", "f4", None)], constants=constants)))
    assert stored.params == imported(saved(tmp_path, network(), "plain.onnx")).params + 2 * CLASSES


def test_the_manifest_says_how_the_network_was_fitted(tmp_path: Path) -> None:
    """And nothing of widths and depths, which nobody knows."""
    path = saved(tmp_path, network(layout="nhwc", dtype=np.uint8))
    manifest = manifests.read(imported(path, Told(channels="bgr")).folder)
    assert manifest.architecture == ImportedArchitecture(
        network="mine", layout="nhwc", channels="bgr", element_type="uint8", output="scores"
    )
    assert (manifest.preprocessing.mean, manifest.preprocessing.std) == AS_IT_IS
    assert manifest.preprocessing.input_size_px == SIZE
    assert manifest.weights.kind is WeightsKind.IMPORTED
    assert (manifest.weights.source, manifest.weights.licence) == ("mine.onnx", "MIT")
    assert manifest.weights.sha256 == manifests.sha256_of(path)


def test_the_accuracy_told_is_recorded(tmp_path: Path) -> None:
    """Budgets rank by it."""
    accuracy = Accuracy(top1=0.8, dataset="mine", source=AccuracySource.MEASURED)
    wishes = Wishes("mine", labels_file(tmp_path), accuracy=accuracy)
    add(from_file(saved(tmp_path, network()), "MIT"), wishes, tmp_path / "store")
    (entry,) = scan(tmp_path / "store").entries
    assert (entry.variant().rank_top1, entry.variant().trained) == (0.8, True)


def test_without_accuracy_it_is_served_and_not_ranked(tmp_path: Path) -> None:
    """Requests may name it."""
    imported(saved(tmp_path, network()))
    (entry,) = scan(tmp_path / "store").entries
    assert entry.variant().rank_top1 is None


def test_the_same_import_is_kept(tmp_path: Path) -> None:
    """Nothing is written when nothing would change."""
    path = saved(tmp_path, network())
    first = imported(path)
    assert imported(path) == replace(first, kept=True)


@pytest.mark.parametrize(
    "told",
    [Told(channels="bgr"), Told(normalisation=RANGES["0-1"]), Told(output="scores2")],
    ids=["channels", "normalisation", "output"],
)
def test_another_fit_is_another_version(tmp_path: Path, told: Told) -> None:
    """Even of the same file."""
    outputs = [tensor("scores", "f4", None), tensor("scores2", "f4", None)]
    path = saved(tmp_path, network([node("Neg", "scores", "scores2")], outputs))
    imported(path, Told(output="scores"))
    assert imported(path, replace(told, output=told.output or "scores")).version == 2


def test_an_imported_graph_can_be_imported(tmp_path: Path) -> None:
    """The store's own files are ONNX like any other."""
    first = imported(saved(tmp_path, network()))
    again = imported(first.folder / "model.onnx")
    np.testing.assert_array_equal(served(again, photos()), served(first, photos()))


def test_weights_beside_the_file_come_along(tmp_path: Path) -> None:
    """The variant stands alone; what lay beside is part of its identity."""
    made = network()
    expected = by_hand(saved(tmp_path, made, "whole.onnx"), _nchw(photos()))
    path = tmp_path / "mine.onnx"
    onnx.save(made, path, save_as_external_data=True, location="mine.data", size_threshold=0)
    stored = imported(path)
    found = manifests.read(stored.folder).weights.sha256
    (tmp_path / "mine.data").unlink()
    np.testing.assert_allclose(served(stored, photos()), expected, rtol=1e-5)
    assert found != manifests.sha256_of(path)


def test_weights_beside_the_file_must_be_there(tmp_path: Path) -> None:
    """The message names what is missing."""
    path = tmp_path / "mine.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="mine.data", size_threshold=0)
    (tmp_path / "mine.data").unlink()
    with pytest.raises(ImportRefused, match=r"mine\.onnx has weights beside it that cannot be read: .*mine\.data"):
        imported(path)
