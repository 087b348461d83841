"""A trained network as the start of a deeper or wider one: Net2Net (Chen, Goodfellow, Shlens, arXiv 1511.05641).

Deeper: blocks that the smaller network lacks begin as the identity. Wider: new channels are copies of old ones, and
whoever reads them divides by the number of copies; a little noise lets the copies part. With batch norm the larger
network then answers exactly as the smaller one did, but for that noise. Norms over groups of channels would see other
statistics with copies in them, so networks with such norms can be deepened only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_store.builder.spec import Block, Spec, blocks
from model_store.trained import Tensors, TrainedFileError, read_header, read_tensors
from model_store.training.network import EfficientNet

NOISE = 0.01
"""Of a tensor's standard deviation, on tensors that have copies."""
NORM_PARTS = ("weight", "bias", "running_mean", "running_var", "proxy_weight", "proxy_bias")

Map = npt.NDArray[np.int64]
"""For each channel of the larger network the channel of the smaller one that it copies."""


class GrowError(Exception):
    """One network cannot be grown into the other. One line."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A tensor, and the maps of its outputs and inputs; None where it has no such side to widen."""

    name: str
    outputs: Map | None
    inputs: Map | None = None


def grown(path: Path, spec: Spec, labels: str) -> dict[str, Tensor]:
    """Tensors to start `spec` from that the trained file at `path` knows; the others keep their seeded values.

    Raises `GrowError`: another kind of network, a larger one, or other classes.
    """
    try:
        header = read_header(path)
    except TrainedFileError as error:
        raise GrowError(str(error)) from error
    if header is None:
        raise GrowError(f"{path} was not written by `effserve train`")
    _check(header.spec, spec)
    if header.labels != labels:
        raise GrowError(f"{path} knows other classes than the images have")
    found = widened(read_tensors(path), header.spec, spec)
    return {name: torch.from_numpy(value) for name, value in found.items()}


def widened(state: Tensors, small: Spec, large: Spec) -> Tensors:
    """The smaller network's tensors in the larger one's shapes; blocks that it lacks are not there."""
    random = np.random.default_rng(0)
    shapes = {name: tuple(value.shape) for name, value in EfficientNet(large, 2).state_dict().items()}
    result = {}
    for part in _parts(small, large, random):
        if part.name in state:
            result[part.name] = _copied(state[part.name], part, random)
            if not part.name.startswith("classifier") and result[part.name].shape != shapes[part.name]:
                raise GrowError(f"{part.name} does not fit")
    return result


def _check(small: Spec, large: Spec) -> None:
    if (small.norm, small.group_width, small.expansion, small.padding) != (
        large.norm, large.group_width, large.expansion, large.padding,
    ):  # fmt: skip
        raise GrowError(f"{small.name} and {large.name} are networks of different kinds")
    if small.width > large.width or small.depth > large.depth:
        raise GrowError(f"{small.name} is not smaller than {large.name}")
    if small.norm != "batch" and small.width != large.width:
        raise GrowError(f"{small.name} cannot be widened: its norms would see other statistics")


def _parts(small: Spec, large: Spec, random: np.random.Generator) -> Iterator[_Part]:
    """Every tensor that both have, from the stem on, with the maps of its sides."""
    stream = _map(small.stem_channels, large.stem_channels, random)
    yield from _convolution("conv_stem", "bn1", stream, None)
    counterparts = {block.name: block for block in blocks(small)}
    outputs: dict[str, Map] = {}
    for block in blocks(large):
        twin = counterparts.get(block.name)
        if twin is None:
            continue
        if twin.has_skip != block.has_skip:
            raise GrowError(f"{block.name} skips in one of {small.name} and {large.name} only")
        stage = block.name.split(".")[1]
        if stage not in outputs:
            outputs[stage] = _map(twin.out_channels, block.out_channels, random)
        yield from _block(block, twin, stream, outputs[stage], random)
        stream = outputs[stage]
    head = _map(small.head_channels, large.head_channels, random)
    yield from _convolution("conv_head", "bn2", head, stream)
    yield _Part("classifier.weight", None, head)
    yield _Part("classifier.bias", None)


def _block(block: Block, twin: Block, inputs: Map, outputs: Map, random: np.random.Generator) -> Iterator[_Part]:
    at = block.name
    middle = _map(twin.mid_channels, block.mid_channels, random) if block.expands else inputs
    squeezed = _map(twin.se_channels, block.se_channels, random)
    if block.expands:
        yield from _convolution(f"{at}.conv_pw", f"{at}.bn1", middle, inputs)
        yield from _convolution(f"{at}.conv_dw", f"{at}.bn2", middle, None)
        yield from _convolution(f"{at}.conv_pwl", f"{at}.bn3", outputs, middle)
    else:
        yield from _convolution(f"{at}.conv_dw", f"{at}.bn1", middle, None)
        yield from _convolution(f"{at}.conv_pw", f"{at}.bn2", outputs, middle)
    yield from _convolution(f"{at}.se.conv_reduce", None, squeezed, middle)
    yield from _convolution(f"{at}.se.conv_expand", None, middle, squeezed)


def _convolution(name: str, norm: str | None, outputs: Map, inputs: Map | None) -> Iterator[_Part]:
    yield _Part(f"{name}.weight", outputs, inputs)
    yield _Part(f"{name}.bias", outputs)
    for part in NORM_PARTS if norm else ():
        yield _Part(f"{norm}.{part}", outputs)


def _map(small: int, large: int, random: np.random.Generator) -> Map:
    """Old channels first, then copies of channels drawn at random."""
    return np.concatenate([np.arange(small), random.integers(0, small, large - small)])


def _copied(value: npt.NDArray[np.float32], part: _Part, random: np.random.Generator) -> npt.NDArray[np.float32]:
    spread, copied = float(value.std()), value.astype(np.float64)
    if part.inputs is not None and value.ndim > 1:
        copies = np.bincount(part.inputs)[part.inputs]
        copied = copied[:, part.inputs] / copies.reshape(1, -1, *[1] * (value.ndim - 2))
    if part.outputs is not None:
        copied = copied[part.outputs]
    grew = any(side is not None and len(np.unique(side)) < len(side) for side in (part.outputs, part.inputs))
    if grew and value.ndim > 1:
        copied = copied + NOISE * spread * random.standard_normal(copied.shape)
    return np.ascontiguousarray(copied, np.float32)
