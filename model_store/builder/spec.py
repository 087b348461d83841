"""The one table everything is built from: EfficientNet's seven stages, the levels' coefficients, and the G16 change.

Sources: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv 1905.11946, with
the coefficients of the reference implementation (the compound formula does not generate B1–B7; Google hard-codes
them); Masters et al., "Making EfficientNet More Efficient", arXiv 2106.03640, for G16: convolution groups of width
16 in place of depthwise ones, expansion 4 in place of 6, and batch-independent normalisation.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Norm = Literal["batch", "group4", "proxy"]
Padding = Literal["same", "symmetric"]

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
"""Depth, width and resolution per unit of the compound coefficient φ. α·β²·γ² is 1.92, the paper's "≈ 2"."""

G16_WIDTH, G16_EXPANSION = 16, 4


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the paper's Table 1."""

    kernel: int
    stride: int
    expand: int
    channels: int
    repeats: int


STAGES = (
    Stage(kernel=3, stride=1, expand=1, channels=16, repeats=1),
    Stage(kernel=3, stride=2, expand=6, channels=24, repeats=2),
    Stage(kernel=5, stride=2, expand=6, channels=40, repeats=2),
    Stage(kernel=3, stride=2, expand=6, channels=80, repeats=3),
    Stage(kernel=5, stride=1, expand=6, channels=112, repeats=3),
    Stage(kernel=5, stride=2, expand=6, channels=192, repeats=4),
    Stage(kernel=3, stride=1, expand=6, channels=320, repeats=1),
)
STEM_CHANNELS, HEAD_CHANNELS, SE_RATIO = 32, 1280, 0.25


@dataclass(frozen=True, slots=True)
class Level:
    """Coefficients of one level, and what the papers published for it (top-1 on ImageNet, one crop)."""

    width: float
    depth: float
    resolution: int
    top1: float
    g16_top1: float | None = None
    """One-group norm + Proxy Norm, native resolution (digitised from the paper's figure, ± 0.0002)."""
    g16_gn_top1: float | None = None
    """Four-group norm."""


LEVELS = {
    "b0": Level(1.0, 1.0, 224, 0.771, 0.7942, 0.7908),
    "b1": Level(1.0, 1.1, 240, 0.791, 0.8133, 0.8081),
    "b2": Level(1.1, 1.2, 260, 0.801, 0.8180, 0.8145),
    "b3": Level(1.2, 1.4, 300, 0.816, 0.8262, 0.8231),
    "b4": Level(1.4, 1.8, 380, 0.829, 0.8338, 0.8320),
    "b5": Level(1.6, 2.2, 456, 0.836, 0.8404, 0.8395),
    "b6": Level(1.8, 2.6, 528, 0.840),
    "b7": Level(2.0, 3.1, 600, 0.843),
}


@dataclass(frozen=True, slots=True)
class Spec:
    """One network: a level, the kind of its spatial convolutions and norms, and its padding."""

    name: str
    level: str
    width: float
    depth: float
    resolution: int
    group_width: int = 1
    expansion: int | None = None
    """In place of the table's 6; stage 1 keeps 1."""
    norm: Norm = "batch"
    padding: Padding = "same"
    published_top1: float | None = None

    @property
    def norm_epsilon(self) -> float:
        """TensorFlow-trained weights and G16 use 1e-3, torch-trained ones 1e-5."""
        return 1e-3 if self.padding == "same" or self.norm != "batch" else 1e-5

    @property
    def stem_channels(self) -> int:
        """Channels of the stem convolution."""
        return round_filters(STEM_CHANNELS, self.width)

    @property
    def head_channels(self) -> int:
        """Channels before the classifier."""
        return round_filters(HEAD_CHANNELS, self.width)


@dataclass(frozen=True, slots=True)
class Block:
    """One MBConv, expanded from the table. `name` is its prefix in a checkpoint."""

    name: str
    in_channels: int
    mid_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    se_channels: int

    @property
    def expands(self) -> bool:
        """Stage 1 has no expansion convolution (timm's `ds` block)."""
        return self.mid_channels != self.in_channels

    @property
    def has_skip(self) -> bool:
        """Only where shapes allow it."""
        return self.stride == 1 and self.in_channels == self.out_channels


def resolve(name: str) -> Spec:
    """The spec of a named variant: b0…b7, bN-g16 (Proxy Norm), bN-g16-gn (four-group norm). Raises `ValueError`."""
    match = re.fullmatch(r"(b[0-7])(-g16)?(-gn)?", name)
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"no variant {name!r}; there are {', '.join(known_names())}")
    level = LEVELS[match[1]]
    spec = Spec(name, match[1], level.width, level.depth, level.resolution, published_top1=level.top1)
    if not match[2]:
        return spec
    norm: Norm = "group4" if match[3] else "proxy"
    top1 = level.g16_gn_top1 if match[3] else level.g16_top1
    return replace(spec, group_width=G16_WIDTH, expansion=G16_EXPANSION, norm=norm, published_top1=top1)


def known_names() -> list[str]:
    """All named variants."""
    return [f"{level}{kind}" for kind in ("", "-g16", "-g16-gn") for level in LEVELS]


def compound(phi: float, name: str | None = None) -> Spec:
    """A level by compound coefficient: depth α^φ, width β^φ, resolution 224·γ^φ rounded to a multiple of 4.

    φ = 1 is close to B2, not B1; the shipped levels do not lie on this curve.
    """
    if not 0 <= phi <= 12:
        raise ValueError(f"phi must be between 0 and 12, got {phi}")
    resolution = 4 * round(224 * GAMMA**phi / 4)
    return custom(name or f"phi{phi:g}", width=BETA**phi, depth=ALPHA**phi, resolution=resolution)


def custom(name: str, *, width: float, depth: float, resolution: int) -> Spec:
    """A level by explicit coefficients. Raises `ValueError` for coefficients no network can be built from."""
    if not (0 < width <= 8 and 0 < depth <= 8 and 32 <= resolution <= 2048):
        figures = f"{width}, {depth}, {resolution}"
        raise ValueError(f"width and depth must be in (0, 8] and resolution in [32, 2048], got {figures}")
    return Spec(name, "custom", width, depth, resolution)


def round_filters(channels: int, width: float) -> int:
    """Scale a channel count and round it to a multiple of 8, not more than 10 % down (reference implementation)."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Scale a repeat count, rounding up."""
    return math.ceil(depth * repeats)


def groups_of(channels: int, group_width: int) -> int:
    """Groups of the spatial convolution: one a channel, or groups of `group_width`.

    The reference takes C // 16 groups, at least one. At B6 that does not divide the stem's 56 channels; the largest
    number of groups up to it that does is taken there (2 groups of 28), which changes no other case.
    """
    most = max(channels // group_width, 1)
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


def blocks(spec: Spec) -> Iterator[Block]:
    """All MBConv blocks in order."""
    in_channels = spec.stem_channels
    for number, stage in enumerate(STAGES):
        expand = stage.expand if stage.expand == 1 or spec.expansion is None else spec.expansion
        for repeat in range(round_repeats(stage.repeats, spec.depth)):
            mid = in_channels * expand
            yield Block(
                name=f"blocks.{number}.{repeat}",
                in_channels=in_channels,
                mid_channels=mid,
                out_channels=round_filters(stage.channels, spec.width),
                kernel=stage.kernel,
                stride=stage.stride if repeat == 0 else 1,
                groups=groups_of(mid, spec.group_width),
                se_channels=max(1, int(in_channels * SE_RATIO)),
            )
            in_channels = round_filters(stage.channels, spec.width)


def same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after) along one edge: the odd pixel goes to the end."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
