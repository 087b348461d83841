"""Proxy Norm's constants, shared by the graph and by training.

Labatie et al., "Proxy-Normalizing Activations to Match Batch Normalization while Removing Batch Dependence", arXiv
2106.03743; the reference code takes ε = 0.03 and the normal quantiles at (i + ½)/200.
"""

from statistics import NormalDist
from typing import Literal

import numpy as np

Site = Literal["dense", "spatial", "head"]
"""Where an activation stands: after stem or expansion, after the spatial convolution, before the classifier."""

PROXY_EPSILON = 0.03
PROXY_SAMPLES = 200


def proxy_quantiles() -> np.ndarray:
    """The fixed sample of a standard normal, [200], float64."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / PROXY_SAMPLES) for i in range(PROXY_SAMPLES)])
