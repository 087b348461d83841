"""Seeded networks to hold against another implementation: random weights, random images, and our graph's answer.

Untrained weights would hide mistakes: with identity norms and zero biases, a swapped statistic or a lost shift
changes nothing. Here every tensor is drawn, norms and biases included, scaled so that activations neither vanish nor
explode through 55 blocks. `parity.py` records what timm answers for the same draw; the tests compare with the record.

All numbers come from raw words of PCG64 by operations that IEEE 754 fixes to the last bit, because NumPy promises
that stream for ever but not its distributions: a recorded answer stays valid whatever NumPy and processor redraw.
"""

import math
import re
import zlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime

from model_store.builder.build import build_graph, state_shapes
from model_store.builder.spec import Spec, resolve
from model_store.builder.weights import Shapes, Tensors

Images = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]

IMAGES = 2
PATCHES = 8
"""Images are this many uniform patches across, plus noise: noise alone averages out, and all images look the same."""
GAINS = (
    (r"\.conv_dw\.", 2.0),  # reads an activation, which halves the variance (He et al., arXiv 1502.01852)
    (r"\.0\.conv_pwl\.|blocks\.0\.0\.conv_pw\.", 6.0),  # reads a gated activation; no skip carries its input on
    (r"\.conv_pwl\.|blocks\.0\.\d+\.conv_pw\.", 0.1),  # beside a skip, where up to thirteen add up
)
"""Variance out of a convolution per variance in, by name; 1 for all others.

So chosen that the image neither drowns in the norms' biases (the two images' logits differ by a tenth) nor grows until
every gate is saturated, where float32 itself is off by more than the tolerance.
"""
TOLERANCE = 1e-5
"""Largest difference allowed between two float32 implementations, as a share of the largest logit."""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: the network by timm's name, its input edge in pixels, its classes, and the seed of all else."""

    timm_name: str
    size: int
    classes: int = 1000
    seed: int = 0

    @property
    def key(self) -> str:
        """Name in a record of answers."""
        return f"{self.timm_name}@{self.size}"

    @property
    def spec(self) -> Spec:
        """The same network in our terms."""
        return spec_of(self.timm_name)


GOLDEN = (
    Case("tf_efficientnet_b0", 96, classes=16, seed=1),  # every stride meets an even size: SAME pads lopsidedly
    Case("tf_efficientnet_b2", 68, classes=16, seed=2),  # 68, 34, 17, 9, 5: both parities, so both kinds of pads
    Case("efficientnet_b0", 72, classes=16, seed=3),  # symmetric pads, ε of torch
)
"""Cases small enough to record and to run with every test."""


def spec_of(timm_name: str) -> Spec:
    """`tf_efficientnet_bN` pads as TensorFlow does, `efficientnet_bN` symmetrically. Raises `ValueError` for others."""
    family, _, level = timm_name.rpartition("_")
    if family == "tf_efficientnet":
        return resolve(level)
    if family == "efficientnet":
        return replace(resolve(level), padding="symmetric")
    raise ValueError(f"{timm_name!r} is neither tf_efficientnet_bN nor efficientnet_bN")


def native(timm_name: str, seed: int = 0) -> Case:
    """The case at the level's own resolution, with 1000 classes. Raises `ValueError` for an unknown name."""
    return Case(timm_name, spec_of(timm_name).resolution, seed=seed)


def state(case: Case) -> Tensors:
    """Every tensor of the case's network, float32. Each has its own stream, so order and number do not matter."""
    return random_state(state_shapes(case.spec, case.classes), case.seed)


def random_state(shapes: Shapes, seed: int) -> Tensors:
    """Tensors of these shapes: weights centred at zero, norm scales and variances in [½, 1½], other vectors in ± ½."""
    return {name: _tensor(name, shape, seed) for name, shape in shapes.items()}


def images(case: Case) -> Images:
    """Patches and noise, uint8 [IMAGES, size, size, 3]."""
    patch = -(-case.size // PATCHES)
    coarse = _uniform("patches", (IMAGES, PATCHES, PATCHES, 3), case.seed)
    coarse = coarse.repeat(patch, axis=1).repeat(patch, axis=2)[:, : case.size, : case.size]
    fine = _uniform("noise", coarse.shape, case.seed)
    return np.floor(128 + 96 * coarse + 32 * fine).astype(np.uint8)


def our_logits(case: Case, *, folded: bool = True) -> Logits:
    """What our graph answers in ONNX Runtime on the CPU, [IMAGES, classes]."""
    model = build_graph(case.spec, state(case), classes=case.classes, size=case.size, folded=folded)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    logits: Logits = session.run(None, {"image": images(case)})[0]
    return logits


def relative_difference(ours: Logits, theirs: Logits) -> float:
    """max |ours − theirs| / max |theirs|."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _tensor(name: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    drawn = _uniform(name, shape, seed)
    if len(shape) == 1:
        centre = 1.0 if name.endswith((".weight", ".running_var")) else 0.0
        return (centre + 0.5 * drawn).astype(np.float32)
    gain = next((gain for pattern, gain in GAINS if re.search(pattern, name)), 1.0)
    # A uniform draw from ± 1 has variance ⅓.
    return (drawn * math.sqrt(3 * gain / math.prod(shape[1:]))).astype(np.float32)


def _uniform(name: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float64]:
    """Multiples of 2⁻²³ in [−1, 1)."""
    words = np.random.PCG64([seed, zlib.crc32(name.encode())]).random_raw(math.prod(shape))
    return ((words >> 40).astype(np.float64) * 2.0**-23 - 1).reshape(shape)
