"""Holds our graphs against timm's networks: same weights, same images, the same logits.

    python -m model_store.builder.parity [--json] [--seed N] [--write-golden FILE] [NAME …]

timm's networks are an independent implementation that reproduces the published accuracies from the published
checkpoints; what agrees with them for random weights will serve those checkpoints correctly. Ours runs folded, as it
is served, in ONNX Runtime; theirs in torch, float32, in evaluation mode.

Needs torch and timm, from `requirements/parity.txt`. Left out: the G16 variants, which timm does not have.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_store.builder.build import Normalisation
from model_store.builder.randomised import (
    GOLDEN,
    TOLERANCE,
    Case,
    Images,
    Logits,
    images,
    native,
    our_logits,
    relative_difference,
    state,
)
from model_store.builder.timm_export import timm_package
from model_store.builder.weights import IGNORED

NAMES = (
    "tf_efficientnet_b0", "tf_efficientnet_b2", "tf_efficientnet_b4", "tf_efficientnet_b7",
    "efficientnet_b0", "efficientnet_b3",
)  # fmt: skip
ROW = "{:<20} {:>5} {:>12} {:>12} {:>10}  {}\n"


class ParityError(Exception):
    """timm's network has other parameters than ours. The message names them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outcome for one network: the largest logit, and the largest difference, also as a share of it."""

    name: str
    size: int
    max_logit: float
    max_difference: float
    relative: float
    agrees: bool


def compare(case: Case) -> Comparison:
    """Run both implementations. Raises `ParityError` where the parameters differ."""
    theirs = timm_logits(case)
    ours = our_logits(case)
    relative = relative_difference(ours, theirs)
    largest, difference = float(np.abs(theirs).max()), float(np.abs(ours - theirs).max())
    return Comparison(case.timm_name, case.size, largest, difference, relative, relative <= TOLERANCE)


def timm_logits(case: Case) -> Logits:
    """What timm's network answers, [IMAGES, classes]. Raises `ParityError` where its parameters are not ours."""
    network = _timm_network(case)
    with torch.inference_mode():
        logits: Logits = network(torch.from_numpy(normalised(images(case)))).numpy()
    return logits


def normalised(pixels: Images) -> Logits:
    """(x / 255 − mean) / std in float64, rounded once: uint8 [N, H, W, 3] → float32 [N, 3, H, W]."""
    by = Normalisation()
    scaled = (pixels / 255 - np.array(by.mean)) / np.array(by.std)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)


def write_golden(path: Path) -> None:
    """Record timm's answers for the small cases that every test run compares with."""
    answers: dict[str, Any] = {case.key: timm_logits(case) for case in GOLDEN}
    np.savez_compressed(path, **answers)


def versions() -> dict[str, str]:
    """Who was compared."""
    return {package: version(package) for package in ("torch", "timm", "onnxruntime", "numpy")}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all networks agree, 1 where one does not, 2 for a command line that makes no sense."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write_golden:
        write_golden(options.write_golden)
        return 0
    try:
        cases = [native(name, options.seed) for name in options.names]
    except ValueError as error:
        parser.error(str(error))
    compared = map(compare, cases)
    return _print_json(compared) if options.json else _print_table(compared)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_store.builder.parity", description="Compare with timm.")
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=f"default: {', '.join(NAMES)}")
    parser.add_argument("--seed", type=int, default=0, help="of weights and images; default: 0")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--write-golden", type=Path, metavar="FILE", help="record the tests' answers and stop")
    return parser


def _timm_network(case: Case) -> torch.nn.Module:
    network = timm_package().create_model(case.timm_name, pretrained=False, num_classes=case.classes).eval()
    tensors = {name: torch.from_numpy(value) for name, value in state(case).items()}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    wrong = [name for name in (*missing, *unexpected) if not name.endswith(IGNORED)]
    if wrong:
        raise ParityError(f"{case.timm_name}: parameters that only one side has: {', '.join(wrong)}")
    return network


def _print_table(compared: Iterable[Comparison]) -> int:
    """A row as soon as it is known; the largest networks take their time."""
    sys.stdout.write(", ".join(f"{package} {number}" for package, number in versions().items()) + "\n")
    sys.stdout.write(ROW.format("network", "px", "max |logit|", "max |Δ|", "relative", f"≤ {TOLERANCE:g}"))
    all_agree = True
    for row in compared:
        figures = (f"{row.max_logit:.4g}", f"{row.max_difference:.2e}", f"{row.relative:.1e}")
        sys.stdout.write(ROW.format(row.name, row.size, *figures, "yes" if row.agrees else "NO"))
        sys.stdout.flush()
        all_agree &= row.agrees
    return 0 if all_agree else 1


def _print_json(compared: Iterable[Comparison]) -> int:
    rows = list(compared)
    document = {"versions": versions(), "tolerance": TOLERANCE, "networks": [asdict(row) for row in rows]}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
