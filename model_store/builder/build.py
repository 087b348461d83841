"""Spec and weights → a verified ONNX file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime

from model_store.builder.count import Counts, count, dimensions
from model_store.builder.fold import State, fold
from model_store.builder.network import EfficientNet, trace
from model_store.builder.spec import Spec

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BuildError(Exception):
    """A graph cannot be built as asked, or the built graph does not do what it must."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation of pixels in [0, 1]; inside the graph, so a client cannot get them wrong."""

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD


def state_shapes(spec: Spec, classes: int) -> dict[str, tuple[int, ...]]:
    """Every tensor a checkpoint must have, with its shape. timm's `num_batches_tracked` counters are not needed."""
    network = _network(spec, classes, Normalisation(), spec.resolution, folded=False)
    return {name: dimensions(parameter.shape or ir.Shape([])) for name, parameter in network.named_parameters()}


def counts(spec: Spec, classes: int, size: int | None = None) -> Counts:
    """Parameters and multiply-adds of the literal graph. Needs no weights."""
    size = size or spec.resolution
    network = _network(spec, classes, Normalisation(), size, folded=False)
    return count(trace(network, size=size, classes=classes, name=spec.name))


def build_graph(
    spec: Spec,
    state: State,
    *,
    classes: int,
    normalisation: Normalisation | None = None,
    size: int | None = None,
    folded: bool = True,
) -> ir.Model:
    """The network with its weights. `state` has the tensors of `state_shapes`.

    Raises `BuildError` for an input size that shifts the sampling grid of a SAME-padded network: TensorFlow's padding
    depends on the parity of each stage's size, so only the native size ± 32·n keeps it (arXiv 2106.03640, §3.3).
    """
    normalisation, size = normalisation or Normalisation(), size or spec.resolution
    if spec.padding == "same" and size % 32 != spec.resolution % 32:
        raise BuildError(f"{spec.name} runs at {spec.resolution} ± 32·n pixels, not at {size}")
    network = _network(spec, classes, normalisation, size, folded=folded)
    parameters = fold(spec, state, normalisation.std) if folded else state
    tensors = {name: ir.tensor(np.asarray(value, np.float32)) for name, value in parameters.items()}
    network.load_state_dict({k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")})
    return trace(network, size=size, classes=classes, name=spec.name)


def save(model: ir.Model, path: Path) -> None:
    """Write the graph as one ONNX file."""
    ir.save(model, path)


def verify(path: Path, *, size: int, classes: int) -> None:
    """The check every build ends in: ONNX's checker, a load and a run. Raises `BuildError`.

    The run is a batch of two and one single image: finite logits, and the same ones either way.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        pair = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
        together, alone = _run(session, pair), _run(session, pair[:1])
    except Exception as error:
        # The checker and the runtime raise unrelated classes; whatever they say is the reason.
        raise BuildError(f"{path.name} does not run: {' '.join(str(error).split())[:300]}") from error
    if together.shape != (2, classes) or not np.isfinite(together).all():
        raise BuildError(f"{path.name} gives {together.shape} logits, finite: {np.isfinite(together).all()}")
    if np.abs(together[0] - alone[0]).max() > 1e-4 * max(np.abs(alone).max(), 1e-6):
        raise BuildError(f"{path.name} gives other logits in a batch than alone")


def _run(session: onnxruntime.InferenceSession, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = session.run(None, {"image": images})[0]
    return logits


def _network(spec: Spec, classes: int, normalisation: Normalisation, size: int, *, folded: bool) -> EfficientNet:
    return EfficientNet(spec, classes=classes, mean=normalisation.mean, std=normalisation.std, size=size, folded=folded)
