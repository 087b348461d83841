"""Folding changes the parameters, not the answers."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import pytest

from model_store.builder import build
from model_store.builder.fold import fold
from model_store.builder.randomised import random_state
from model_store.builder.spec import Spec, custom
from model_store.builder.weights import Tensors
from tests.unit.model_store.small import CLASSES

BATCH = custom("batch", width=0.5, depth=0.4, resolution=64)
SPECS = {
    "batch": BATCH,
    "batch, symmetric": replace(BATCH, padding="symmetric"),
    "four groups": replace(BATCH, norm="group4", group_width=16, expansion=4),
    "proxy": replace(BATCH, norm="proxy", group_width=16, expansion=4),
}
NORMALISATION = build.Normalisation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def _state(spec: Spec) -> Tensors:
    return random_state(build.state_shapes(spec, CLASSES), seed=7)


def _logits(spec: Spec, state: Tensors, *, folded: bool) -> npt.NDArray[np.float32]:
    model = build.build_graph(spec, state, classes=CLASSES, normalisation=NORMALISATION, folded=folded)
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).integers(0, 256, (3, spec.resolution, spec.resolution, 3), dtype=np.uint8)
    logits: npt.NDArray[np.float32] = session.run(None, {"image": images})[0]
    return logits


@pytest.mark.parametrize("kind", SPECS)
def test_the_folded_network_answers_as_the_literal_one(kind: str) -> None:
    """With random norms, biases and statistics the logits agree to float32 precision."""
    spec = SPECS[kind]
    state = _state(spec)
    literal, folded = _logits(spec, state, folded=False), _logits(spec, state, folded=True)
    assert np.abs(literal).max() > 1e-3
    assert np.abs(folded - literal).max() < 1e-5 * np.abs(literal).max()


def test_batch_norms_are_gone_from_the_folded_network() -> None:
    """Every norm's four tensors become one bias of the convolution before it."""
    folded = fold(BATCH, _state(BATCH), NORMALISATION.std)
    assert not [name for name in folded if ".bn" in name or name.startswith("bn")]
    assert folded["conv_stem.bias"].shape == (BATCH.stem_channels,)


def test_proxy_statistics_are_gone_from_the_folded_network() -> None:
    """Their scales are in the convolutions, the shifts stay as constants."""
    spec = SPECS["proxy"]
    folded = fold(spec, _state(spec), NORMALISATION.std)
    assert not [name for name in folded if "proxy" in name]
    assert "bn1.shift" in folded


def test_folding_leaves_its_input_alone() -> None:
    """The literal parameters can be used again afterwards."""
    state = _state(BATCH)
    before = {name: value.copy() for name, value in state.items()}
    fold(BATCH, state, NORMALISATION.std)
    assert all(np.array_equal(state[name], before[name]) for name in before)


def test_counters_of_torch_are_ignored() -> None:
    """A checkpoint may carry `num_batches_tracked`; nothing comes of it."""
    state = _state(BATCH)
    with_counter = state | {"bn1.num_batches_tracked": np.array(3, np.float32)}
    assert fold(BATCH, with_counter, NORMALISATION.std).keys() == fold(BATCH, state, NORMALISATION.std).keys()


def test_proxy_norm_with_a_skip_over_the_first_block_is_refused() -> None:
    """The stem's scale would have to move into an addition."""
    narrow = replace(custom("narrow", width=0.1, depth=0.1, resolution=32), norm="proxy")
    with pytest.raises(ValueError, match="cannot be folded when the first block skips"):
        fold(narrow, _state(narrow), NORMALISATION.std)
