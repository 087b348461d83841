"""Checkpoint → parameters of the folded network: constants move into weights, in float64, where that is exact.

Batch norm goes into the convolution before it. Proxy Norm's statistics are constants at inference: the scale goes
into the next convolution's input channels, the head's shift into the classifier's bias. The pixel scale 1 / (255·std)
goes into the stem.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_store.builder.proxy import PROXY_EPSILON, proxy_quantiles
from model_store.builder.spec import Block, Spec, blocks

State = Mapping[str, npt.NDArray[np.float32]]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pair:
    """A convolution and the norm behind it, by their names in a checkpoint."""

    conv: str
    norm: str
    then: str | None
    """The convolution that reads the activation; None where no activation follows, or the classifier does."""


def pairs(spec: Spec) -> Iterator[Pair]:
    """Every convolution with a norm, in order."""
    chain = list(blocks(spec))
    yield Pair("conv_stem", "bn1", f"{chain[0].name}.{'conv_pw' if chain[0].expands else 'conv_dw'}")
    for block in chain:
        yield from _block_pairs(block)
    yield Pair("conv_head", "bn2", None)


def _block_pairs(block: Block) -> Iterator[Pair]:
    at = block.name
    if block.expands:
        yield Pair(f"{at}.conv_pw", f"{at}.bn1", f"{at}.conv_dw")
        yield Pair(f"{at}.conv_dw", f"{at}.bn2", f"{at}.conv_pwl")
        yield Pair(f"{at}.conv_pwl", f"{at}.bn3", None)
    else:
        yield Pair(f"{at}.conv_dw", f"{at}.bn1", f"{at}.conv_pw")
        yield Pair(f"{at}.conv_pw", f"{at}.bn2", None)


def fold(spec: Spec, state: State, std: Sequence[float]) -> dict[str, npt.NDArray[np.float32]]:
    """Parameters of the folded network from those of the literal one.

    Raises `ValueError` for a Proxy Norm network whose first block skips: its stem is read by an addition too, so the
    stem's scale cannot move into a convolution. No named variant is like that.
    """
    folded: dict[str, npt.NDArray[np.float64]] = {
        name: np.asarray(value, np.float64) for name, value in state.items() if not name.endswith("num_batches_tracked")
    }
    if spec.norm == "batch":
        _fold_batch_norms(spec, folded)
    elif spec.norm == "proxy":
        _fold_proxy_norms(spec, folded)
    folded["conv_stem.weight"] = folded["conv_stem.weight"] / (255 * np.asarray(std, np.float64))[None, :, None, None]
    return {name: np.ascontiguousarray(value, np.float32) for name, value in folded.items()}


def _fold_batch_norms(spec: Spec, state: dict[str, Float64]) -> None:
    for pair in pairs(spec):
        gamma, beta, mean, variance = (
            state.pop(f"{pair.norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + spec.norm_epsilon)
        state[f"{pair.conv}.weight"] = state[f"{pair.conv}.weight"] * scale[:, None, None, None]
        state[f"{pair.conv}.bias"] = beta - mean * scale


def _fold_proxy_norms(spec: Spec, state: dict[str, Float64]) -> None:
    if next(blocks(spec)).has_skip:
        raise ValueError(f"{spec.name}: Proxy Norm cannot be folded when the first block skips")
    for pair in pairs(spec):
        if f"{pair.norm}.proxy_weight" not in state:
            continue
        shift, scale = proxy_statistics(
            state[f"{pair.norm}.weight"], state[f"{pair.norm}.bias"],
            state.pop(f"{pair.norm}.proxy_weight"), state.pop(f"{pair.norm}.proxy_bias"),
        )  # fmt: skip
        if pair.then is None:
            state["classifier.bias"] = state["classifier.bias"] - state["classifier.weight"] @ shift
        else:
            state[f"{pair.norm}.shift"] = shift[:, None, None]
            state[f"{pair.then}.weight"] = _scale_inputs(state[f"{pair.then}.weight"], scale)


def proxy_statistics(gamma: Float64, beta: Float64, gamma_: Float64, beta_: Float64) -> tuple[Float64, Float64]:
    """Proxy Norm's m and s, [C] each, by the reference's 200 quantiles (population variance, ε = 0.03)."""
    drawn = (1 + gamma_)[:, None] * proxy_quantiles()[None] + beta_[:, None]
    normed = gamma[:, None] * drawn + beta[:, None]
    activated = normed / (1 + np.exp(-normed))
    return activated.mean(axis=1), 1 / np.sqrt(activated.var(axis=1) + PROXY_EPSILON)


def _scale_inputs(weight: Float64, scale: Float64) -> Float64:
    """Scale the input channels of a convolution [out, in / groups, k, k]; group g reads inputs g·(in/groups) …"""
    outputs, per_group = weight.shape[:2]
    groups = len(scale) // per_group
    of_group = scale.reshape(groups, 1, per_group, 1, 1)
    grouped = weight.reshape(groups, outputs // groups, *weight.shape[1:])
    return (grouped * of_group).reshape(weight.shape)
