"""The torch network and the ONNX graph are the same network."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make torch` runs these")

from model_store.builder import build  # noqa: E402
from model_store.builder.randomised import random_state, relative_difference  # noqa: E402
from model_store.builder.spec import Spec, custom, resolve  # noqa: E402
from model_store.builder.weights import Tensors  # noqa: E402
from model_store.training.learner import normalised  # noqa: E402
from model_store.training.network import EfficientNet  # noqa: E402

CLASSES = 12
TOLERANCE = 1e-4
KINDS = {
    "G1, batch norm": resolve("b0"),
    "G1, symmetric padding": replace(resolve("b0"), padding="symmetric"),
    "G16, Proxy Norm": resolve("b0-g16"),
    "G16, four-group norm": resolve("b0-g16-gn"),
    "deeper": resolve("b1"),
    "wider, Proxy Norm": resolve("b2-g16"),
    "custom": custom("tiny", width=0.5, depth=0.5, resolution=64),
}


def network_and_state(spec: Spec, seed: int = 5) -> tuple[EfficientNet, Tensors]:
    """The torch network with random weights in all tensors, and those weights by name."""
    state = random_state(build.state_shapes(spec, CLASSES), seed)
    network = EfficientNet(spec, CLASSES)
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(counters | {name: torch.from_numpy(value) for name, value in state.items()})
    return network.eval(), state


def graph_logits(spec: Spec, state: Tensors, images: np.ndarray, *, folded: bool) -> np.ndarray:
    """What the graph answers."""
    model = build.build_graph(spec, state, classes=CLASSES, size=images.shape[1], folded=folded)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(None, {"image": images})[0]
    return logits


def torch_logits(network: EfficientNet, images: np.ndarray) -> np.ndarray:
    """What the torch network answers."""
    with torch.inference_mode():
        return network(normalised(torch.from_numpy(images).permute(0, 3, 1, 2))).numpy()


@pytest.mark.parametrize("folded", [False, True], ids=["literal", "folded"])
@pytest.mark.parametrize("kind", KINDS)
def test_torch_and_onnx_give_the_same_logits(kind: str, folded: bool) -> None:
    """For every kind of variant, with random weights, statistics and norms, in the literal and the folded graph."""
    spec = KINDS[kind]
    images = np.random.default_rng(1).integers(
        0, 256, (2, spec.resolution % 32 + 64, spec.resolution % 32 + 64, 3), np.uint8
    )
    network, state = network_and_state(spec)
    ours = graph_logits(spec, state, images, folded=folded)
    assert relative_difference(ours, torch_logits(network, images)) < TOLERANCE


@pytest.mark.parametrize("name", ["b0", "b3", "b0-g16", "b3-g16", "b6-g16", "b0-g16-gn"])
def test_state_dicts_have_the_checkpoint_s_names_and_shapes(name: str) -> None:
    """Of the torch network and of the graph, which are timm's."""
    spec = resolve(name)
    state = EfficientNet(spec, CLASSES).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert shapes == build.state_shapes(spec, CLASSES)


def test_images_differ_in_their_logits() -> None:
    """Or the comparison above would compare constants."""
    network, _ = network_and_state(resolve("b0-g16"))
    images = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), np.uint8)
    first, second = torch_logits(network, images)
    assert np.abs(first - second).max() > 0.01 * np.abs(first).max()
