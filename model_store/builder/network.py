"""EfficientNet top to bottom as an ONNX graph, on `onnxscript.nn`. Parameter names are those of timm checkpoints.

Two forms of the same network. *Literal*: batch norms with their statistics, Proxy Norm computed in the graph from its
four parameter vectors, the image normalised as the paper says; it is what parameters are counted on and what folding
is tested against. *Folded*: what is served; `fold.py` makes its parameters.

Choices made for ONNX Runtime (1.25 and later, CPU): SiLU as Sigmoid and Mul, which fuse into one kernel; squeeze and
head as GlobalAveragePool, which stays in the blocked layout; explicit pads for the static input size; group norm as
InstanceNormalization over reshaped groups, because GroupNormalization has no CPU kernel.

Left out: dropout and stochastic depth, which are the identity at inference.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnxscript import GraphBuilder, OpBuilder, nn

from model_store.builder.proxy import PROXY_EPSILON, Site, proxy_quantiles
from model_store.builder.spec import Block, Padding, Spec, blocks, same_pads

OPSET = 17
IR_VERSION = 9


def silu(op: OpBuilder, x: ir.Value) -> ir.Value:
    """x · σ(x). The Sigmoid must have no other consumer, or the runtime's QuickGelu fusion does not match."""
    return op.Mul(x, op.Sigmoid(x))


class Conv(nn.Module):
    """Convolution without bias, unless asked for. Weight [out, in / groups, k, k]; `size` is the input's edge."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        size: int = 1,
        stride: int = 1,
        groups: int = 1,
        padding: Padding = "same",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter([outputs, inputs // groups, kernel, kernel])
        self.bias = nn.Parameter([outputs]) if bias else None
        before, after = same_pads(size, kernel, stride) if padding == "same" else (kernel // 2, kernel // 2)
        self._attributes = {
            "kernel_shape": [kernel, kernel],
            "strides": [stride, stride],
            "pads": [before, before, after, after],
            "group": groups,
        }
        self.out_size = (size + before + after - kernel) // stride + 1

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        return op.Conv(x, self.weight, *([self.bias] if self.bias is not None else []), **self._attributes)


def per_channel(op: OpBuilder, vector: ir.Value) -> ir.Value:
    """[C] → [C, 1, 1], to broadcast over [N, C, H, W]."""
    return op.Unsqueeze(vector, [1, 2])


class Norm(nn.Module):
    """The norm of one site: batch, or group with one or four groups. Empty where batch norm was folded away.

    With Proxy Norm the projection's norm, which no activation follows, has γ but no β.
    """

    def __init__(self, spec: Spec, channels: int, size: int, *, folded: bool, bias: bool = True) -> None:
        super().__init__()
        self._kind = "none" if spec.norm == "batch" and folded else spec.norm
        self._epsilon = spec.norm_epsilon
        self._groups, self._shape = 1 if spec.norm == "proxy" else 4, [0, channels, size, size]
        if self._kind == "none":
            return
        self.weight = nn.Parameter([channels])
        self.bias = nn.Parameter([channels]) if bias else None
        if self._kind == "batch":
            self.running_mean = nn.Parameter([channels])
            self.running_var = nn.Parameter([channels])

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        if self._kind == "none":
            return x
        if self._kind == "batch":
            statistics = (self.running_mean, self.running_var)
            return op.BatchNormalization(x, self.weight, self.bias, *statistics, epsilon=self._epsilon)
        scaled = op.Mul(self._standardised(op, x), per_channel(op, self.weight))
        return scaled if self.bias is None else op.Add(scaled, per_channel(op, self.bias))

    def _standardised(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Zero mean and unit variance in each group of channels of each image."""
        ones, zeros = [1.0] * self._groups, [0.0] * self._groups
        grouped = op.Reshape(x, [0, self._groups, -1])
        return op.Reshape(op.InstanceNormalization(grouped, ones, zeros, epsilon=self._epsilon), self._shape)


class NormActivation(Norm):
    """Norm and SiLU of one site; with Proxy Norm, less its mean m.

    `scale` is Proxy Norm's s, [C]. Who applies it differs by site: stem and expansion at once, the spatial convolution
    through its SE gate, the head not at all. Folding moves s into the next convolution's weights, and the head's m
    into the classifier's bias; the other m stay, because a zero-padded convolution reads them.
    """

    def __init__(self, spec: Spec, channels: int, size: int, *, folded: bool, site: Site) -> None:
        super().__init__(spec, channels, size, folded=folded)
        self._proxy, self._folded, self._site = spec.norm == "proxy", folded, site
        self.scale: ir.Value | None = None
        if self._proxy and not folded:
            self.proxy_bias = nn.Parameter([channels])
            self.proxy_weight = nn.Parameter([channels])
        elif self._proxy and site != "head":
            self.shift = nn.Parameter([channels, 1, 1])

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        activated = silu(op, super().forward(op, x))
        if not self._proxy:
            return activated
        if self._folded:
            return activated if self._site == "head" else op.Sub(activated, self.shift)
        mean, self.scale = self._statistics(op)
        centred = op.Sub(activated, per_channel(op, mean))
        return op.Mul(centred, per_channel(op, self.scale)) if self._site == "dense" else centred

    def _statistics(self, op: OpBuilder) -> tuple[ir.Value, ir.Value]:
        """m = E[φ(γỸ + β)] and s = 1/√(Var[φ(γỸ + β)] + ε) with Ỹ ~ N(β̃, (1 + γ̃)²), by 200 fixed quantiles."""
        sample = op.initializer(ir.tensor(proxy_quantiles().astype(np.float32)[None]), name="quantiles")
        gamma, beta, spread, offset = (
            op.Reshape(vector, [-1, 1]) for vector in (self.weight, self.bias, self.proxy_weight, self.proxy_bias)
        )
        drawn = op.Add(op.Mul(op.Add(spread, 1.0), sample), offset)
        activated = silu(op, op.Add(op.Mul(gamma, drawn), beta))
        mean = op.ReduceMean(activated, axes=[1], keepdims=1)
        apart = op.Sub(activated, mean)
        variance = op.ReduceMean(op.Mul(apart, apart), axes=[1], keepdims=0)
        return op.Reshape(mean, [-1]), op.Reciprocal(op.Sqrt(op.Add(variance, PROXY_EPSILON)))


class SqueezeExcite(nn.Module):
    """Gate each channel by what the whole image says: x · σ(W₂ φ(W₁ mean(x)))."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = Conv(channels, reduced, bias=True)
        self.conv_expand = Conv(reduced, channels, bias=True)

    def forward(self, op: OpBuilder, x: ir.Value, scale: ir.Value | None) -> ir.Value:
        squeezed = self.conv_reduce(op, op.GlobalAveragePool(x))
        gate = op.Sigmoid(self.conv_expand(op, silu(op, squeezed)))
        return op.Mul(x, gate if scale is None else op.Mul(gate, per_channel(op, scale)))


class MBConv(nn.Module):
    """Expand, convolve in space, gate, project; add the input where shapes allow.

    timm names the parts by position: without expansion the projection is `conv_pw` and the spatial norm `bn1`.
    """

    def __init__(self, spec: Spec, block: Block, size: int, *, folded: bool) -> None:
        super().__init__()
        mid, bias = block.mid_channels, folded and spec.norm == "batch"
        self._has_skip, first = block.has_skip, 1
        # Parts are kept in tuples by role, next to their attribute, which is their name in a checkpoint.
        self._expansion: tuple[Conv, NormActivation] | None = None
        if block.expands:
            self.conv_pw = Conv(block.in_channels, mid, bias=bias)
            self.bn1 = NormActivation(spec, mid, size, folded=folded, site="dense")
            self._expansion, first = (self.conv_pw, self.bn1), 2
        shape = {"size": size, "stride": block.stride, "groups": block.groups}
        self.conv_dw = Conv(mid, mid, block.kernel, **shape, padding=spec.padding, bias=bias)
        self.out_size = self.conv_dw.out_size
        norm = NormActivation(spec, mid, self.out_size, folded=folded, site="spatial")
        setattr(self, f"bn{first}", norm)
        self._spatial = (self.conv_dw, norm)
        self.se = SqueezeExcite(mid, block.se_channels)
        self._project(spec, block, first, folded=folded)

    def _project(self, spec: Spec, block: Block, first: int, *, folded: bool) -> None:
        bias = folded and spec.norm == "batch"
        conv = Conv(block.mid_channels, block.out_channels, bias=bias)
        norm = Norm(spec, block.out_channels, self.out_size, folded=folded, bias=spec.norm != "proxy")
        setattr(self, "conv_pwl" if block.expands else "conv_pw", conv)
        setattr(self, f"bn{first + 1}", norm)
        self._projection = (conv, norm)

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        h = x
        if self._expansion is not None:
            h = _apply(op, self._expansion, h)
        h = _apply(op, self._spatial, h)
        h = self.se(op, h, self._spatial[1].scale)
        h = _apply(op, self._projection, h)
        return op.Add(h, x) if self._has_skip else h


def _apply(op: OpBuilder, parts: tuple[Conv, Norm], x: ir.Value) -> ir.Value:
    convolution, norm = parts
    return norm(op, convolution(op, x))


class Stages(nn.Module):
    """The seven stages: `blocks.<stage>.<block>`."""

    def __init__(self, spec: Spec, size: int, *, folded: bool) -> None:
        super().__init__()
        stages: dict[str, nn.ModuleList] = {}
        for block in blocks(spec):
            _, stage, _ = block.name.split(".")
            module = MBConv(spec, block, size, folded=folded)
            stages.setdefault(stage, nn.ModuleList()).append(module)
            size = module.out_size
        for stage, members in stages.items():
            setattr(self, stage, members)
        self.out_size = size

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        for stage in self.children():
            for block in stage.children():
                x = block(op, x)
        return x


class EfficientNet(nn.Module):
    """uint8 image [N, size, size, 3] → logits [N, classes].

    Literal form: (x / 255 − mean) / std. Folded form: x − 255·mean, with 1 / (255·std) in the stem's weights. The
    mean is not folded into a bias: the stem pads with zeros *after* normalisation, so a bias would be wrong on the
    border.
    """

    def __init__(
        self, spec: Spec, *, classes: int, mean: Sequence[float], std: Sequence[float], size: int, folded: bool
    ) -> None:
        super().__init__()
        bias = folded and spec.norm == "batch"
        self._mean, self._std, self._folded = mean, std, folded
        self.conv_stem = Conv(3, spec.stem_channels, 3, size=size, stride=2, padding=spec.padding, bias=bias)
        size = self.conv_stem.out_size
        self.bn1 = NormActivation(spec, spec.stem_channels, size, folded=folded, site="dense")
        self.blocks = Stages(spec, size, folded=folded)
        last = list(blocks(spec))[-1].out_channels
        self.conv_head = Conv(last, spec.head_channels, bias=bias)
        self.bn2 = NormActivation(spec, spec.head_channels, self.blocks.out_size, folded=folded, site="head")
        self.classifier = Linear(spec.head_channels, classes)

    def forward(self, op: OpBuilder, image: ir.Value) -> ir.Value:
        x = self.bn1(op, self.conv_stem(op, self._normalised(op, image)))
        x = self.bn2(op, self.conv_head(op, self.blocks(op, x)))
        return self.classifier(op, op.Flatten(op.GlobalAveragePool(x), axis=1))

    def _normalised(self, op: OpBuilder, image: ir.Value) -> ir.Value:
        pixels = op.Cast(op.Transpose(image, perm=[0, 3, 1, 2]), to=ir.DataType.FLOAT)
        if self._folded:
            return op.Sub(pixels, _constant(op, [255 * m for m in self._mean], "pixel_mean"))
        centred = op.Sub(op.Div(pixels, 255.0), _constant(op, self._mean, "mean"))
        return op.Div(centred, _constant(op, self._std, "std"))


class Linear(nn.Module):
    """x Wᵀ + b with W [outputs, inputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter([outputs, inputs])
        self.bias = nn.Parameter([outputs])

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        return op.Gemm(x, self.weight, self.bias, transB=1)


def _constant(op: OpBuilder, values: Sequence[float], name: str) -> ir.Value:
    return op.initializer(ir.tensor(np.array(values, np.float32).reshape(3, 1, 1)), name=name)


def trace(network: EfficientNet, *, size: int, classes: int, name: str) -> ir.Model:
    """The network as an ONNX model: input `image` uint8 [N, size, size, 3], output `logits` float [N, classes]."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)
    builder = GraphBuilder(graph)
    image = builder.input("image", ir.DataType.UINT8, ["N", size, size, 3])
    logits = network(builder.op, image)
    logits.shape, logits.type = ir.Shape(["N", classes]), ir.TensorType(ir.DataType.FLOAT)
    builder.add_output(logits, "logits")
    return ir.Model(graph, ir_version=IR_VERSION)
