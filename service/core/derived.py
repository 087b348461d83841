"""Variants that were made from others by giving up exactness for time: when a budget may choose them.

A quantised network is judged beside the one it was made from, and two chances must not decide between them.

*Accuracy.* Both answered the same images. Had each been given its own share of right answers, a few hundred images
would let either look better. So a derived variant counts as accurate as its original less what these images cannot
rule out: the lower end of the 95 % interval of the difference, for pairs (Agresti & Min, Statistics in Medicine 24,
2005: Wald's with half an observation added to each of the four cells). It never counts as more accurate than its
original, however the images fell. So it is chosen where there is less time, and takes the original's place only if it
is surely no less accurate.

*Time.* It has to be quicker than its original by a twentieth at least, as calibration found both on this machine; by
less, budgets would give up accuracy for what the next calibration may take back.

What is left takes part in the Pareto set like any other variant.
"""

import math
from dataclasses import dataclass

from service.core.values import Verdict

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""
LEAST_GAIN = 0.05
"""Share of its original's time that a derived variant has to save."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Two variants on the same images."""

    images: int
    only_original: int
    """Images that the original alone has right."""
    only_derived: int
    """Images that the derived variant alone has right."""


def least_change(paired: Paired) -> float:
    """The least that top-1 can have changed by, with 95 % confidence: negative unless it has surely risen.

    With b and c images that one alone has right, each plus ½, of n + 2: (c − b) ÷ n − z · √(b + c − (b − c)² ÷ n) ÷ n.
    """
    images = paired.images + 2
    lost, won = paired.only_original + 0.5, paired.only_derived + 0.5
    spread = math.sqrt(lost + won - (won - lost) ** 2 / images)
    return (won - lost - Z_95 * spread) / images


def counted_top1(original_top1: float, paired: Paired) -> float:
    """What a derived variant is ranked by."""
    return max(original_top1 + min(least_change(paired), 0.0), 0.0)


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts of a variant beside another: what it is ranked by, and its expected time."""

    top1: float
    expected_s: float


def withheld(derived: Standing, original: Standing) -> Verdict | None:
    """Why no budget may choose a derived variant whose original can be chosen, or None when it may."""
    if derived.top1 > original.top1:
        return Verdict.OUTDATED
    if derived.expected_s > (1 - LEAST_GAIN) * original.expected_s:
        return Verdict.NO_QUICKER
    return None
