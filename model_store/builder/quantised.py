"""A variant's graph → the same in 8-bit integers, by ONNX Runtime's static quantisation (QDQ).

Weights get a scale per output channel, activations one of their own each, found by running images: unsigned 8 bits for
activations and signed for weights, the one pair that x86 processors have an instruction for. EfficientNets are known
to suffer from this, because SiLU and squeeze-and-excitation give activations of very different range. So it is not done
blindly. The images that ranges are found on also settle how: by one method after the other the network is quantised and
held against what it was, until its probabilities diverge little enough. If they do by none, then by the best of them
the parts that diverge most when quantised alone stay in float32, twice as many each time.

No labels are needed here, and nothing is claimed about accuracy: `effserve quantize` measures that on other images.
"""

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from model_store.builder.build import BuildError
from model_store.builder.foreign import one_line, opened, ran

Images = npt.NDArray[np.uint8]
"""[images, size, size, 3], as the graph takes them."""
Method = Literal["minmax", "percentile", "entropy"]

METHODS: tuple[Method, ...] = get_args(Method)
_CALIBRATORS: dict[Method, tuple[CalibrationMethod, dict[str, float]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {"percentile": 99.99}),
    "entropy": (CalibrationMethod.Entropy, {}),
}
ACTIVATION_BYTES = 300_000_000
"""Of all activations of the images that are in memory at one time: B4 has 0.6 GB of them for each."""
MOST_AT_ONCE = 32
TOLERANCE_NATS = 0.02
"""Divergence of probabilities that will do: of demonstration networks with a third of this, 24 of 25 answers stay the
same, and the share of right ones within half a point (docs/precision.md)."""
MOST_FLOAT = 0.5
"""Of a network's parts, those that may stay in float32. With more of them there is nothing left to win."""
FLOAT_BYTES = 4
MOST_PARTS = 32
"""Each is tried alone, which takes a second or two."""
MARKS = ("QuantizeLinear", "DequantizeLinear")

Announce = Callable[[str], None]


class QuantiseRefused(BuildError):
    """A graph cannot be quantised. One line: which, and why not."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """The graph, and how it came about."""

    content: bytes
    method: Method
    in_float: tuple[str, ...]
    divergence: float
    """Mean Kullback-Leibler divergence of its probabilities from the original's, nats, on the images given."""


def quantised(
    graph: Path,
    images: Images,
    *,
    reduced_range: bool,
    tolerance_nats: float = TOLERANCE_NATS,
    announce: Announce = lambda _: None,
) -> Quantised:
    """By the first method that will do, with as much in float32 as it takes. Raises `QuantiseRefused`."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            work = _Work(graph, images, Path(folder), reduced_range=reduced_range)
            return _settled(work, tolerance_nats, announce)
        except BuildError:
            raise
        except Exception as error:
            # The quantiser and the runtime raise unrelated classes; whatever they say is the reason.
            raise QuantiseRefused(f"{graph} does not quantise: {one_line(error)}") from error


def _settled(work: "_Work", tolerance_nats: float, announce: Announce) -> Quantised:
    tried: dict[Method, Quantised] = {}
    for method in METHODS:
        announce(f"quantising by {method}")
        tried[method] = work.quantise(method)
        if tried[method].divergence <= tolerance_nats:
            return tried[method]
    best = min(tried.values(), key=lambda one: one.divergence)
    order = work.most_sensitive_first(best.method, announce)
    for count in _doubling(int(len(order) * MOST_FLOAT)):
        announce(f"{count} of {len(order)} parts in float32")
        best = work.quantise(best.method, order[:count])
        if best.divergence <= tolerance_nats:
            return best
    raise QuantiseRefused(
        f"{work.name} does not quantise: with {MOST_FLOAT:.0%} of it left in float32 its probabilities are still "
        f"{best.divergence:.2g} nats from what they were; {tolerance_nats:g} would do"
    )


def _doubling(most: int) -> Iterator[int]:
    """1, 2, 4 … and `most`."""
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


class _Work:
    """One graph being quantised in a folder of its own."""

    def __init__(self, graph: Path, images: Images, folder: Path, *, reduced_range: bool) -> None:
        self.name = f"{graph.parent.parent.name} version {graph.parent.name}"
        self._images = images
        self._folder = folder
        self._reduced_range = reduced_range
        self._prepared = folder / "prepared.onnx"
        quant_pre_process(str(graph), str(self._prepared))
        self._proto = onnx.load(self._prepared)
        if any(node.op_type in MARKS for node in self._proto.graph.node):
            raise QuantiseRefused(f"{self.name} is quantised already")
        self._expected = _probabilities(self._logits(self._prepared.read_bytes()))

    @cached_property
    def _parts(self) -> dict[str, list[str]]:
        """Names of nodes, in order, by the part of the network they are in."""
        return parts([node.name for node in self._proto.graph.node])

    def quantise(self, method: Method, in_float: Sequence[str] = ()) -> Quantised:
        """All but some parts."""
        content = self._content(method, exclude=[name for part in in_float for name in self._parts[part]])
        if not any(node.op_type in MARKS for node in onnx.ModelProto.FromString(content).graph.node):
            raise QuantiseRefused(f"{self.name} does not quantise: nothing in it has a form in 8-bit integers")
        return Quantised(content, method, tuple(in_float), self._divergence(content))

    def most_sensitive_first(self, method: Method, announce: Announce) -> list[str]:
        """The parts by how much is lost when each alone is quantised."""
        lost = {}
        for part, nodes in self._parts.items():
            announce(f"trying {part} alone")
            lost[part] = self._divergence(self._content(method, only=nodes))
        return sorted(lost, key=lambda part: -lost[part])

    def _content(self, method: Method, *, exclude: Sequence[str] = (), only: Sequence[str] = ()) -> bytes:
        path = self._folder / "quantised.onnx"
        quantize_static(
            str(self._prepared),
            str(path),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=self._reduced_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(exclude),
            nodes_to_quantize=list(only),
            calibrate_method=_CALIBRATORS[method][0],
            calibration_cache_path=self._ranges(method),
        )
        return path.read_bytes()

    def _ranges(self, method: Method) -> Path:
        """A file with the range of each activation; found once."""
        path = self._folder / f"{method}.json"
        if not path.exists():
            kind, options = _CALIBRATORS[method]
            calibrator = create_calibrator(
                self._prepared,
                augmented_model_path=str(self._folder / "augmented.onnx"),
                calibrate_method=kind,
                extra_options=options,
            )
            at_once = min(max(ACTIVATION_BYTES // self._activation_bytes(), 1), MOST_AT_ONCE)
            for start in range(0, len(self._images), at_once):
                calibrator.collect_data(_Reader(self._input, self._images[start : start + at_once]))
            save_tensors_data(calibrator.compute_data(), path)
        return path

    def _activation_bytes(self) -> int:
        """Of one image; sizes that the graph leaves open, as the number of images is, count as 1."""
        shapes = [value.type.tensor_type.shape.dim for value in self._proto.graph.value_info]
        return sum(FLOAT_BYTES * math.prod(max(size.dim_value, 1) for size in shape) for shape in shapes) or 1

    @property
    def _input(self) -> str:
        name: str = self._proto.graph.input[0].name
        return name

    def _divergence(self, content: bytes) -> float:
        """Mean of Σ p · log(p ÷ q) over the images, p of the original and q of this graph."""
        found = _probabilities(self._logits(content))
        return float((self._expected * np.log(self._expected / found)).sum(axis=1).mean())

    def _logits(self, content: bytes) -> npt.NDArray[np.float64]:
        """One by one, as they are served: with a batch, memory grows."""
        session = opened(self.name, content)
        outputs = [session.get_outputs()[0].name]
        return np.concatenate([ran(self.name, session, image[None], outputs)[0] for image in self._images]).astype(
            np.float64
        )


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Images one by one, as the calibrators ask for them."""

    def __init__(self, name: str, images: Images) -> None:
        self._name = name
        self._left = iter(images)

    def get_next(self) -> dict[str, Images] | None:
        """None at the end."""
        image = next(self._left, None)
        return None if image is None else {self._name: image[None]}


def parts(nodes: Sequence[str]) -> dict[str, list[str]]:
    """Neighbouring nodes of one module, by that module's name; of more than `MOST_PARTS` modules, neighbours together.

    Exporters write modules into names: `blocks/0.0/conv_dw/Conv_node_6` is in `blocks/0.0`.
    """
    modules = [(module, list(names)) for module, names in groupby(nodes, _module)]
    each = -(-len(modules) // MOST_PARTS)
    found: dict[str, list[str]] = {}
    for start in range(0, len(modules), each):
        together = modules[start : start + each]
        first, last = together[0][0], together[-1][0]
        name = first if len(together) == 1 else f"{first} to {last}"
        found.setdefault(name, []).extend(node for _, names in together for node in names)
    return found


def _module(node: str) -> str:
    """The two outermost names around a node; its own where there are none."""
    around = node.strip("/").split("/")
    return "/".join(around[:-1][:2]) or node


def _probabilities(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[images, classes], none of them 0."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return np.maximum(shares, np.finfo(np.float32).tiny)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The calibrators print, and the quantiser warns of choices that are made here on purpose."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
