"""Networks made elsewhere that cannot be adapted: each kind is refused in one line that says why."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from model_store.builder.build import BuildError
from model_store.builder.fitting import RANGES, Told
from model_store.builder.foreign import ImportRefused
from model_store.builder.imported import Wishes, add, from_file
from tests.unit.model_store.foreign_graphs import CHANNELS, SIZE, imported, model, network, node, saved, tensor
from tests.unit.model_store.small import CLASSES, labels_file

OPEN = ("N", "C", "H", "W")
FOUR_COLOURS = {"kernel": np.ones((CHANNELS, 4, 3, 3), np.float32)}
Y = [tensor("y", "f4", None)]


def _two_inputs() -> onnx.ModelProto:
    inputs = [tensor("x", "f4", ["N", 3, SIZE, SIZE]), tensor("y", "f4", [1])]
    nodes = [node("Flatten", "x", "flat"), node("Mul", "flat y", "scores")]
    return model(nodes, inputs, [tensor("scores", "f4", None)], {})


def _of_text() -> onnx.ModelProto:
    """As a pipeline for tables begins."""
    return model(
        [node("Identity", "x", "scores")], [tensor("x", np.object_, ["N", 1])], [tensor("scores", np.object_, None)], {}
    )


def _maps() -> onnx.ModelProto:
    """As scikit-learn's converter ends, unless told otherwise."""
    zipped = helper.make_node(
        "ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=list(range(CLASSES))
    )
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(onnx.TensorProto.INT64, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, []))
    )
    made = network([zipped], [helper.make_value_info("maps", kind)])
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return made


def _tail(
    operator: str,
    dtype: npt.DTypeLike = np.float32,
    constants: Mapping[str, npt.NDArray[np.float32]] | None = None,
    **attributes: int,
) -> onnx.ModelProto:
    """Ends in one more operator."""
    operands = " ".join(["scores", *(constants or {})])
    return network([node(operator, operands, "y", **attributes)], [tensor("y", dtype, None)], constants=constants)


def _unknown_operator() -> onnx.ModelProto:
    made = network([helper.make_node("Bespoke", ["scores"], ["y"], domain="mine")], [tensor("y", "f4", None)])
    made.opset_import.append(helper.make_opsetid("mine", 1))
    return made


def _pooled_only(shape: Sequence[int | str] = ("N", 3, SIZE, SIZE)) -> onnx.ModelProto:
    """Means of the colours, one of them twice, as scores."""
    nodes = [
        node("GlobalAveragePool", "x", "h"),
        node("Flatten", "h", "flat"),
        node("Gather", "flat columns", "y", axis=1),
    ]
    constants = {"columns": np.array([0, 1, 2, 0])}
    return model(nodes, [tensor("x", "f4", shape)], [tensor("y", "f4", None)], constants)


def _across_the_batch() -> onnx.ModelProto:
    """Centres the scores over the images that happen to come together."""
    tail = [
        node("ReduceMean", "scores", "centre", axes=[0]),
        node("Sub", "scores centre", "y"),
        node("Add", "y bias", "z"),
    ]
    return network(tail, [tensor("z", "f4", None)])


def _batch_built_in() -> onnx.ModelProto:
    """Puts the scores beside one row of something else, and takes them out again."""
    tail = [node("Expand", "bias rows", "one"), node("Concat", "one scores", "both", axis=1)]
    tail.append(node("Slice", "both from to axes", "y"))
    constants = {"rows": [1, CLASSES], "from": [CLASSES], "to": [2 * CLASSES], "axes": [1]}
    arrays = {name: np.array(values) for name, values in constants.items()}
    return network(tail, Y, shape=(1, 3, SIZE, SIZE), constants=arrays)


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], Told, str]] = {
    "two inputs": (_two_inputs, Told(), r"has 2 inputs, an image classifier has one: 'x' .*; 'y' "),
    "text": (_of_text, Told(), r"takes 'x' tensor\(string\).*; an image network takes a tensor of float, "),
    "a table": (
        lambda: model([node("Relu", "x", "y")], [tensor("x", "f4", ["N", 10])], [tensor("y", "f4", None)], {}),
        Told(), r"takes 'x' tensor\(float\) \[N, 10\]; images have four axes",
    ),
    "greyscale": (
        lambda: network(shape=("N", 1, SIZE, SIZE)), Told(), r"\[N, 1, 32, 32\], which is not 3 colours on any axis",
    ),
    "another layout than told": (network, Told(layout="nhwc"), r"\[N, 3, 32, 32\], which is not NHWC with 3 colours"),
    "not square": (lambda: network(shape=("N", 3, 32, 48)), Told(), r"\[N, 3, 32, 48\]; images are square"),
    "another size than told": (network, Told(size=64), r"\[N, 3, 32, 32\], not --input-size 64"),
    "no size": (lambda: network(shape=("N", 3, "H", "W")), Told(), r"any size, .*: say --input-size"),
    "no size, no axes": (lambda: network(shape=None), Told(), r"any size, .*: say --input-size"),
    "too small": (lambda: network(shape=("N", 3, 16, 16)), Told(), r"16 pixels; 32 to 2048 are served"),
    "either layout": (lambda: _pooled_only(OPEN), Told(size=SIZE), r"say --layout nchw or --layout nhwc"),
    "neither layout": (
        lambda: network(shape=OPEN, constants=FOUR_COLOURS), Told(size=SIZE), r"does not run on \[1, 3, 32, 32\]: ",
    ),
    "bytes with a mean": (
        lambda: network(dtype=np.uint8), Told(normalisation=RANGES["0-1"]), r"normalises them itself: leave out --mean",
    ),
    "other classes": (lambda: network(classes=5), Told(), r"gives 5 values an image .*, but few\.tsv has 4 classes"),
    "no such output": (network, Told(output="y"), r"has no output 'y'; it has 'scores' tensor\(float\) \[N, 4\]"),
    "several outputs of scores": (
        lambda: network([node("Neg", "scores", "y")], [tensor("scores", "f4", None), tensor("y", "f4", None)]),
        Told(), r"2 outputs, more than one with a score a class; say --output: 'scores' .*; 'y' ",
    ),
    "several outputs, none of scores": (
        lambda: network(outputs=[tensor("h4", "f4", None), tensor("h2", "f4", None)]),
        Told(), r"2 outputs, none with a score a class; say --output: 'h4' .*; 'h2' ",
    ),
    "maps": (_maps, Told(), r"gives 'maps' seq\(map\(int64,tensor\(float\)\)\); scores are a tensor"),
    "class numbers": (
        lambda: _tail("ArgMax", np.int64, axis=1, keepdims=0), Told(), r"tensor\(int64\).*; scores are a tensor",
    ),
    "not finite": (
        lambda: _tail("Div", constants={"zero": np.zeros(1, np.float32)}), Told(), r"gives values that are not finite",
    ),
    "a sigmoid": (lambda: _tail("Sigmoid"), Told(), r"ends in a sigmoid: its classes do not exclude each other"),
    "a softmax over something else": (
        lambda: _tail("Softmax", axis=0), Told(), r"ends in a softmax, but not one over the classes",
    ),
    "nothing but a mean": (
        _pooled_only, Told(), r"is no network: 0 weights and 0 multiply-adds",
    ),
    "images mixed": (_across_the_batch, Told(), r"gives other scores in a batch than alone: off by"),
    "one image built in": (_batch_built_in, Told(), r"runs with 1 image\(s\) only: "),
    "an operator of its own": (_unknown_operator, Told(), r"ONNX Runtime refuses mine\.onnx: .*mine:Bespoke"),
    "too new an opset": (
        lambda: network(opset=99), Told(), r"ONNX Runtime refuses mine\.onnx: ONNX Runtime only .*[Oo]pset 99 ",
    ),
    "too old an opset": (lambda: network(opset=6), Told(), r"opset 6; 7 or later is needed"),
    "too new a format": (lambda: network(ir_version=99), Told(), r"Unsupported model IR version: 99"),
}  # fmt: skip


@pytest.mark.parametrize(("made", "told", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_adapted_is_refused_with_the_reason(
    tmp_path: Path, made: Callable[[], onnx.ModelProto], told: Told, reason: str
) -> None:
    """In one line that names the file, and nothing is left in the store."""
    path = saved(tmp_path, made())
    with pytest.raises(ImportRefused, match=reason) as refused:
        imported(path, told)
    assert "mine.onnx" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("store/*"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a text, not a network\n", r"mine\.onnx is no ONNX file, or only a part of one"),
        (b"", r"mine\.onnx is no ONNX file, or an empty one"),
        (network().SerializeToString()[:-100], r"mine\.onnx is no ONNX file, or only a part of one"),
    ],
    ids=["text", "nothing", "cut off"],
)
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """Whatever it is called."""
    (tmp_path / "mine.onnx").write_bytes(content)
    with pytest.raises(ImportRefused, match=reason):
        imported(tmp_path / "mine.onnx")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A folder is no file either."""
    with pytest.raises(ImportRefused, match=r"there is no file .*nowhere\.onnx"):
        imported(tmp_path / "nowhere.onnx")
    with pytest.raises(ImportRefused, match="there is no file"):
        imported(tmp_path)


def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path) -> None:
    """Before the network is looked at."""
    origin = from_file(saved(tmp_path, network()), "MIT")
    with pytest.raises(BuildError, match="a variant's name is"):
        add(origin, Wishes("../mine", labels_file(tmp_path)), tmp_path / "store")
