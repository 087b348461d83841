"""EfficientNet top to bottom in torch, from the same spec table as the graph. State-dict keys are those of timm.

What differs from its twin, `builder/network.py`, is what training needs: batch statistics, dropout, stochastic depth,
Proxy Norm's statistics as functions of parameters that learn, and inputs of any size. A test holds the two to the
same logits for every kind of variant.

Left out: the image's normalisation; images come as float [N, 3, size, size], normalised.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_store.builder.proxy import PROXY_EPSILON, Site, proxy_quantiles
from model_store.builder.spec import Block, Padding, Spec, blocks, same_pads


class Conv(nn.Conv2d):
    """Convolution without bias, unless asked for, with the spec's padding. Weight [out, in / groups, k, k]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: Padding = "same",
        bias: bool = False,
    ) -> None:
        # SAME padding of a stride of 1 is symmetric at every size; of a stride of 2 it depends on the size's parity.
        lopsided = padding == "same" and stride > 1
        around = 0 if lopsided else kernel // 2
        super().__init__(inputs, outputs, kernel, stride=stride, padding=around, groups=groups, bias=bias)
        self._lopsided = lopsided

    def forward(self, x: Tensor) -> Tensor:
        if self._lopsided:
            top, bottom = same_pads(x.shape[2], self.kernel_size[0], self.stride[0])
            left, right = same_pads(x.shape[3], self.kernel_size[1], self.stride[1])
            x = functional.pad(x, (left, right, top, bottom))
        return super().forward(x)


class GroupNorm(nn.Module):
    """Zero mean and unit variance in each group of channels of each image, then γ and, unless left out, β."""

    def __init__(self, groups: int, channels: int, epsilon: float, *, bias: bool = True) -> None:
        super().__init__()
        self._groups, self._epsilon = groups, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.group_norm(x, self._groups, self.weight, self.bias, self._epsilon)


Activated = tuple[Tensor, Tensor | None]
"""An activation, and the factor [C, 1, 1] that the SE gate has yet to apply to it (Proxy Norm's s)."""


class BatchNormActivation(nn.BatchNorm2d):
    """Batch norm and SiLU."""

    def forward(self, x: Tensor) -> Activated:
        return functional.silu(super().forward(x)), None


class GroupNormActivation(GroupNorm):
    """Group norm and SiLU."""

    def forward(self, x: Tensor) -> Activated:
        return functional.silu(super().forward(x)), None


class ProxyNormActivation(GroupNorm):
    """One-group norm, SiLU and Proxy Norm (Labatie et al., arXiv 2106.03743): (φ(γx̂ + β) − m) · s.

    m = E[φ(γỸ + β)] and s = 1/√(Var[φ(γỸ + β)] + ε) with Ỹ ~ N(β̃, (1 + γ̃)²), by the reference's 200 quantiles;
    gradients flow through both. Who applies s differs by site: stem and expansion at once, the spatial convolution
    through its SE gate, the head not at all.
    """

    quantiles: Tensor

    def __init__(self, channels: int, epsilon: float, site: Site) -> None:
        super().__init__(1, channels, epsilon)
        self._site = site
        self.proxy_weight = nn.Parameter(torch.zeros(channels))
        self.proxy_bias = nn.Parameter(torch.zeros(channels))
        sample = torch.from_numpy(proxy_quantiles().astype(np.float32))
        self.register_buffer("quantiles", sample, persistent=False)

    def forward(self, x: Tensor) -> Activated:
        mean, scale = self._statistics()
        centred = functional.silu(super().forward(x)) - mean
        if self._site == "dense":
            return centred * scale, None
        return centred, scale if self._site == "spatial" else None

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """m and s, [C, 1, 1] each, in float32 whatever the network runs in: 200 terms are summed."""
        assert self.bias is not None
        with torch.autocast(self.weight.device.type, enabled=False):
            drawn = (1 + self.proxy_weight)[:, None] * self.quantiles + self.proxy_bias[:, None]  # [C, 200]
            activated = functional.silu(self.weight[:, None] * drawn + self.bias[:, None])
            variance, mean = torch.var_mean(activated, dim=1, correction=0)
            return mean[:, None, None], torch.rsqrt(variance + PROXY_EPSILON)[:, None, None]


def norm(spec: Spec, channels: int) -> nn.Module:
    """The norm behind a projection. With Proxy Norm it has γ but no β."""
    if spec.norm == "batch":
        return nn.BatchNorm2d(channels, eps=spec.norm_epsilon)
    groups = 1 if spec.norm == "proxy" else 4
    return GroupNorm(groups, channels, spec.norm_epsilon, bias=spec.norm != "proxy")


def norm_activation(spec: Spec, channels: int, site: Site) -> nn.Module:
    """Norm and SiLU of one site, with Proxy Norm where the spec has it. Gives `Activated`."""
    if spec.norm == "batch":
        return BatchNormActivation(channels, eps=spec.norm_epsilon)
    if spec.norm == "group4":
        return GroupNormActivation(4, channels, spec.norm_epsilon)
    return ProxyNormActivation(channels, spec.norm_epsilon, site)


class SqueezeExcite(nn.Module):
    """Gate each channel by what the whole image says: x · σ(W₂ φ(W₁ mean(x)))."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = Conv(channels, reduced, bias=True)
        self.conv_expand = Conv(reduced, channels, bias=True)

    def forward(self, activated: Activated) -> Tensor:
        x, scale = activated
        squeezed = functional.silu(self.conv_reduce(x.mean((2, 3), keepdim=True)))  # [N, reduced, 1, 1]
        gate = torch.sigmoid(self.conv_expand(squeezed))  # [N, C, 1, 1]
        return x * (gate if scale is None else gate * scale)


class MBConv(nn.Module):
    """Expand, convolve in space, gate, project; add the input where shapes allow.

    timm names the parts by position: without expansion the projection is `conv_pw` and the spatial norm `bn1`.
    """

    def __init__(self, spec: Spec, block: Block, drop_path: float) -> None:
        super().__init__()
        mid, out = block.mid_channels, block.out_channels
        self._expands, self._has_skip, self._drop_path = block.expands, block.has_skip, drop_path
        spatial = Conv(
            mid, mid, block.kernel, stride=block.stride, groups=block.groups, padding=spec.padding
        )  # fmt: skip
        if block.expands:
            self.conv_pw, self.bn1 = Conv(block.in_channels, mid), norm_activation(spec, mid, "dense")
            self.conv_dw, self.bn2 = spatial, norm_activation(spec, mid, "spatial")
            self.conv_pwl, self.bn3 = Conv(mid, out), norm(spec, out)
        else:
            self.conv_dw, self.bn1 = spatial, norm_activation(spec, mid, "spatial")
            self.conv_pw, self.bn2 = Conv(mid, out), norm(spec, out)
        self.se = SqueezeExcite(mid, block.se_channels)

    def forward(self, x: Tensor) -> Tensor:
        if self._expands:
            h, _ = self.bn1(self.conv_pw(x))
            h = self.bn3(self.conv_pwl(self.se(self.bn2(self.conv_dw(h)))))
        else:
            h = self.bn2(self.conv_pw(self.se(self.bn1(self.conv_dw(x)))))
        if not self._has_skip:
            return h
        return x + (self._dropped(h) if self.training and self._drop_path else h)

    def _dropped(self, h: Tensor) -> Tensor:
        """Stochastic depth (Huang et al., arXiv 1603.09382): a block is left out of some images."""
        kept = torch.rand(len(h), 1, 1, 1, device=h.device) >= self._drop_path
        return h * (kept.to(h.dtype) / (1 - self._drop_path))


class EfficientNet(nn.Module):
    """Normalised image [N, 3, size, size] → logits [N, classes].

    `dropout` is before the classifier; `drop_path` is the rate of stochastic depth in the last block, and falls
    linearly to none in the first.
    """

    def __init__(self, spec: Spec, classes: int, *, dropout: float = 0.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.conv_stem = Conv(3, spec.stem_channels, 3, stride=2, padding=spec.padding)
        self.bn1 = norm_activation(spec, spec.stem_channels, "dense")
        self.blocks = nn.ModuleList(_stages(spec, drop_path))
        last = list(blocks(spec))[-1].out_channels
        self.conv_head = Conv(last, spec.head_channels)
        self.bn2 = norm_activation(spec, spec.head_channels, "head")
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(spec.head_channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        x, _ = self.bn1(self.conv_stem(images))
        for stage in self.blocks:
            x = stage(x)
        x, _ = self.bn2(self.conv_head(x))
        logits: Tensor = self.classifier(self.dropout(x.mean((2, 3))))
        return logits


def _stages(spec: Spec, drop_path: float) -> Iterator[nn.Module]:
    """`blocks.<stage>.<block>`."""
    chain = list(blocks(spec))
    stages: dict[str, list[nn.Module]] = {}
    for number, block in enumerate(chain):
        _, stage, _ = block.name.split(".")
        stages.setdefault(stage, []).append(MBConv(spec, block, drop_path * number / len(chain)))
    for members in stages.values():
        yield nn.Sequential(*members)
