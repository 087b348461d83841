"""An ONNX file made elsewhere: read, opened, and asked what it takes and what it gives.

What ONNX Runtime runs can be served, so the runtime is the judge of a file, not ONNX's checker; what it says is passed
on in one line. It is also asked for what a file may leave open: layouts and shapes are found by running it.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import inliner
from onnx.external_data_helper import load_external_data_for_model

from model_store.builder.build import BuildError

Layout = Literal["nchw", "nhwc"]
Array = npt.NDArray[np.generic]

ELEMENT_TYPES: dict[str, npt.DTypeLike] = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "uint8": np.uint8,
}
"""What an image network may take, as ONNX Runtime writes it."""
LEAST_OPSET = 7
"""The oldest that ONNX Runtime vouches for. Arithmetic broadcasts since then, as the nodes put in front expect."""
REASON_AT_MOST = 300


class ImportRefused(BuildError):
    """A file cannot become a variant. One line: which file, and why not."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output, as the runtime sees it."""

    name: str
    type: str
    """`tensor(float)`, `seq(map(int64,tensor(float)))`, …"""
    shape: tuple[int | str | None, ...]
    """Names and None are sizes left open. Empty when not even the number of axes is known."""

    @property
    def element_type(self) -> str | None:
        """`float` of `tensor(float)`; None for what is no tensor."""
        found = re.fullmatch(r"tensor\((\w+)\)", self.type)
        return found[1] if found else None

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name!r} {self.type}" + (f" [{sizes}]" if self.shape else "")


@dataclass(frozen=True)
class Foreign:
    """A model that ONNX Runtime opened, as a whole: functions inlined, weights that lay beside it included."""

    name: str
    """For messages: the file's name."""
    proto: onnx.ModelProto
    sha256: str
    """Of the file; where weights lay beside it, of both as one."""

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """Open from the first use on. Raises `ImportRefused` with the runtime's reason."""
        return opened(self.name, _as_one_file(self.name, self.proto))

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Without weights that could be replaced."""
        return tuple(Port(i.name, i.type, tuple(i.shape)) for i in self.session.get_inputs())

    @property
    def outputs(self) -> tuple[Port, ...]:
        """All of them, in order."""
        return tuple(Port(o.name, o.type, tuple(o.shape)) for o in self.session.get_outputs())

    @property
    def image(self) -> Port:
        """Its one input."""
        return self.inputs[0]

    @property
    def batch(self) -> int:
        """How many images a run has: 1 where any number will do."""
        first = self.image.shape[0] if self.image.shape else None
        return first if isinstance(first, int) else 1

    def run(self, images: Array, output: str) -> Array:
        """The output for images as the network itself takes them. Raises `ImportRefused` when the run fails."""
        return ran(self.name, self.session, images, [output])[0]

    def run_one(self, image: Array, output: str) -> Array:
        """The output for [1, …], repeated to a batch where the network wants one."""
        return self.run(image.repeat(self.batch, axis=0), output)

    def first_row(self, values: Array) -> npt.NDArray[np.float64]:
        """Of an output: what belongs to the first image, in a row."""
        row: npt.NDArray[np.float64] = values.astype(np.float64).reshape(self.batch, -1)[0]
        return row


def read(path: Path) -> Foreign:
    """A file, with the weights that lie beside it. Raises `ImportRefused`."""
    if not path.is_file():
        raise ImportRefused(f"there is no file {path}")
    content = path.read_bytes()
    try:
        proto = onnx.ModelProto.FromString(content)
    except Exception as error:
        raise ImportRefused(f"{path.name} is no ONNX file, or only a part of one: {one_line(error)}") from error
    before = proto.ByteSize()
    try:
        load_external_data_for_model(proto, str(path.parent))
    except Exception as error:
        raise ImportRefused(f"{path.name} has weights beside it that cannot be read: {one_line(error)}") from error
    beside = proto.ByteSize() != before
    return of(path.name, proto, sha256=_sha256(_as_one_file(path.name, proto) if beside else content))


def of(name: str, proto: onnx.ModelProto, *, sha256: str) -> Foreign:
    """A model in memory, opened and looked at. Raises `ImportRefused`."""
    if not proto.graph.node:
        raise ImportRefused(f"{name} is no ONNX file, or an empty one: it has no graph")
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset < LEAST_OPSET:
        raise ImportRefused(f"{name} is of ONNX opset {opset}; {LEAST_OPSET} or later is needed")
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    model = Foreign(name, proto, sha256)
    _check_input(model)
    return model


def opened(name: str, content: bytes) -> onnxruntime.InferenceSession:
    """A session over a graph in memory. Raises `ImportRefused` with the runtime's reason."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; written to standard error as well, they would be told twice
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # The runtime raises unrelated classes; whatever they say is the reason.
        raise ImportRefused(f"ONNX Runtime refuses {name}: {one_line(error)}") from error


def ran(name: str, session: onnxruntime.InferenceSession, images: Array, outputs: Sequence[str]) -> list[Array]:
    """Some outputs of one run. Raises `ImportRefused` with the runtime's reason."""
    try:
        values: list[Array] = session.run(outputs, {session.get_inputs()[0].name: images})
    except Exception as error:
        raise ImportRefused(f"{name} does not run on {list(images.shape)}: {one_line(error)}") from error
    return values


def one_line(error: BaseException) -> str:
    """What the runtime says, without its own source files and signatures."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"/onnxruntime_src/\S+ .*?\) (?=[A-Z\[])", "", text)
    return text[:REASON_AT_MOST]


def _as_one_file(name: str, proto: onnx.ModelProto) -> bytes:
    try:
        return proto.SerializeToString()
    except Exception as error:
        # Protocol buffers end at 2 GB; how that is said depends on their implementation.
        raise ImportRefused(f"{name} does not fit into one file: {one_line(error)}") from error


def _check_input(model: Foreign) -> None:
    inputs = model.inputs
    if len(inputs) != 1:
        listed = "; ".join(map(str, inputs)) or "none"
        raise ImportRefused(f"{model.name} has {len(inputs)} inputs, an image classifier has one: {listed}")
    image = inputs[0]
    if image.element_type not in ELEMENT_TYPES:
        taken = ", ".join(ELEMENT_TYPES)
        raise ImportRefused(f"{model.name} takes {image}; an image network takes a tensor of {taken}")
    if image.shape and len(image.shape) != 4:
        raise ImportRefused(f"{model.name} takes {image}; images have four axes, [N, 3, H, W] or [N, H, W, 3]")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
