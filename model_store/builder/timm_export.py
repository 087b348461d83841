"""A network of timm → ONNX through torch, prepared as its publisher prepares images.

Weights are the publisher's, fetched as timm would, or seeded. The graph must give what torch gives for the same images
before it is anybody's. Needs the `timm` extra: torch and timm.
"""

import contextlib
import difflib
import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from onnx import ModelProto

from model_store.builder import fitting, foreign
from model_store.builder.adapt import Front
from model_store.builder.fitting import Told
from model_store.builder.foreign import ImportRefused
from model_store.builder.hub import Hub, HubError, NoAnswer, fetch_file
from model_store.builder.imported import Origin, Wishes
from model_store.builder.randomised import relative_difference
from model_store.builder.recipes import UNTRAINED_LICENCE
from model_store.manifest import Accuracy, AccuracySource, Weights, WeightsKind, sha256_of

TOLERANCE = 1e-4
"""Of the largest logit, between torch and ONNX Runtime."""
CHECKPOINT_FILE = "model.safetensors"
DATASET = "imagenet-1k"

PUBLISHED = {
    "resnet50.tv_in1k": 0.76156,
    "resnet50.gluon_in1k": 0.77580,
    "resnet50.a1_in1k": 0.80382,
    "resnet101.tv_in1k": 0.77404,
    "resnet101.gluon_in1k": 0.79306,
    "resnet152.tv_in1k": 0.78330,
    "resnet152.gluon_in1k": 0.79712,
    "resnext50_32x4d.tv_in1k": 0.77632,
    "resnext50_32x4d.gluon_in1k": 0.79354,
    "resnext101_32x4d.gluon_in1k": 0.80336,
    "resnext101_64x4d.gluon_in1k": 0.80640,
    "densenet169.tv_in1k": 0.75922,
    "inception_v3.tf_in1k": 0.77866,
    "inception_v3.tv_in1k": 0.77472,
    "inception_v3.gluon_in1k": 0.78806,
    "inception_v4.tf_in1k": 0.80144,
    "inception_resnet_v2.tf_in1k": 0.80434,
    "legacy_xception.tf_in1k": 0.79058,
    "legacy_senet154.in1k": 0.81320,
    "senet154.gluon_in1k": 0.81258,
    "nasnetalarge.tf_in1k": 0.82638,
    "pnasnet5large.tf_in1k": 0.82814,
}
"""Top-1 of the networks that EfficientNet is compared with, from timm's result files (1.0.29), under the preparation
that timm gives for the tag. The first of an architecture is the closest to its paper."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which network, and with which weights."""

    name: str
    """timm's: `resnet50` or `resnet50.tv_in1k`."""
    seed: int | None = None
    """Of untrained weights; None for the publisher's."""
    size: int | None = None
    """In place of the publisher's."""


def prepared(asked: Asked, variant: str | None, labels: Path, hub: Hub | None = None) -> tuple[Origin, Wishes]:
    """A network, and the variant it is to be: `variant`, or timm's name without the tag.

    Raises `ImportRefused` for a name that timm does not have, for what cannot be exported, and where the weights cannot
    be had.
    """
    facts = _facts(asked.name)
    size = asked.size or facts["input_size"][-1]
    file = None if asked.seed is not None else _checkpoint(facts, hub or Hub())
    network = _network(asked, file)
    model = foreign.of(asked.name, _exported(asked.name, network, size), sha256="")
    normalisation = (tuple(facts["mean"]), tuple(facts["std"]))
    _compare(network, model, size, normalisation)
    origin = Origin(
        model=model,
        network=asked.name,
        weights=_weights(asked, facts, file),
        published_top1=_published_for(facts["architecture"]) if file is None else None,
        params=sum(parameter.numel() for parameter in network.parameters()),
        made_with=("torch", "timm"),
    )
    wishes = Wishes(
        name=variant or facts["architecture"],
        labels=labels,
        told=Told(size=size, layout="nchw", normalisation=normalisation),
        crop_pct=facts["crop_pct"],
        crop_mode=facts["crop_mode"],
        interpolation=facts["interpolation"],
        accuracy=_accuracy(asked, facts),
    )
    return origin, wishes


def _facts(name: str) -> dict[str, Any]:
    """What timm says of a network and its weights. Raises `ImportRefused` for a name that it does not have."""
    timm = timm_package()
    model, _, tag = name.partition(".")
    if not timm.is_model(model):
        close = ", ".join(difflib.get_close_matches(model, timm.list_models(), n=5))
        raise ImportRefused(f"timm has no network {model!r}" + (f"; it has {close}" if close else ""))
    try:
        facts: dict[str, Any] = timm.models.get_pretrained_cfg(name).to_dict()
    except RuntimeError as error:
        tags = ", ".join(found.partition(".")[2] for found in timm.list_pretrained(f"{model}.*"))
        raise ImportRefused(f"timm's {model} has no weights {tag!r}; it has {tags or 'none'}") from error
    return facts | {"name": name}


def _checkpoint(facts: Mapping[str, Any], hub: Hub) -> Path:
    """The file of the publisher's weights, from the hub, or from the address that a few older networks have."""
    name, repository, address = facts["name"], facts.get("hf_hub_id", ""), facts.get("url", "")
    if not (repository or address):
        raise ImportRefused(f"timm has no trained weights of {name}; --untrained draws some from a seed")
    try:
        return fetch_file(repository, CHECKPOINT_FILE, hub) if repository else _downloaded(address)
    except NoAnswer as error:
        advice = "run this on a machine with network and copy its store here, or take --untrained weights"
        raise ImportRefused(f"{name}: {error}; {advice}") from error
    except HubError as error:
        raise ImportRefused(f"{name}: {error}") from error


def _downloaded(address: str) -> Path:
    """A file from a plain address, in the cache where timm looks for it too."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        prefix = torch.hub.HASH_REGEX.search(file.name)
        try:
            torch.hub.download_url_to_file(address, str(file), prefix and prefix[1], progress=False)
        except URLError as error:
            raise NoAnswer(f"{address} cannot be reached ({foreign.one_line(error)})") from error
        except RuntimeError as error:
            raise HubError(f"{address} arrived damaged: {foreign.one_line(error)}") from error
    return file


def _network(asked: Asked, file: Path | None) -> torch.nn.Module:
    """In evaluation mode. The same seed gives the same weights."""
    timm = timm_package()
    if file is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(asked.seed)
            return timm.create_model(asked.name, pretrained=False, exportable=True).eval()
    overlay = {"file": str(file), "custom_load": False}
    try:
        return timm.create_model(asked.name, pretrained=True, pretrained_cfg_overlay=overlay, exportable=True).eval()
    except Exception as error:
        # Whatever the readers of such files and torch raise: the file is not what timm says it is.
        raise ImportRefused(f"{asked.name}: its weights do not fit: {foreign.one_line(error)}") from error


def _exported(name: str, network: torch.nn.Module, size: int) -> ModelProto:
    """The graph, for any number of images of one size."""
    images = torch.zeros(2, 3, size, size)
    try:
        with _quiet():
            shapes = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(network, (images,), dynamo=True, dynamic_shapes=shapes, verbose=False)
            proto: ModelProto = program.model_proto
    except Exception as error:
        # The exporter raises whatever the network's own code stumbles over.
        raise ImportRefused(f"{name} cannot be exported for {size} pixels: {foreign.one_line(error)}") from error
    return proto


def _compare(network: torch.nn.Module, model: foreign.Foreign, size: int, normalisation: fitting.Normalisation) -> None:
    """Raise `ImportRefused` where the graph gives other logits than torch."""
    front = Front(size, "nchw", "rgb", "float", *normalisation)
    images = front.prepare(fitting.noise(size))
    with torch.inference_mode():
        theirs = network(torch.from_numpy(images)).numpy()
    ours = model.run(images, model.outputs[0].name).astype(np.float32)
    difference = relative_difference(ours, theirs)
    if not difference <= TOLERANCE:
        raise ImportRefused(f"{model.name}: the graph's logits are off torch's by {difference:.1e} of the largest")


def _weights(asked: Asked, facts: Mapping[str, Any], file: Path | None) -> Weights:
    if file is None:
        return Weights(kind=WeightsKind.UNTRAINED, source=f"seed {asked.seed}", licence=UNTRAINED_LICENCE)
    return Weights(
        kind=WeightsKind.CHECKPOINT,
        source=facts.get("hf_hub_id") or facts["url"],
        licence=facts.get("license") or "unknown",
        sha256=sha256_of(file),
    )


def _accuracy(asked: Asked, facts: Mapping[str, Any]) -> Accuracy:
    """The publisher's, where the weights and the preparation are."""
    top1 = PUBLISHED.get(f"{facts['architecture']}.{facts['tag']}")
    if top1 is None or asked.seed is not None or asked.size not in (None, facts["input_size"][-1]):
        return Accuracy()
    return Accuracy(top1=top1, dataset=DATASET, source=AccuracySource.PUBLISHED)


def _published_for(architecture: str) -> float | None:
    return next((top1 for name, top1 in PUBLISHED.items() if name.partition(".")[0] == architecture), None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@cache
def timm_package() -> ModuleType:
    """timm. It imports torchvision, which imports only where its compiled operators have names.

    They have none where they do not fit this torch: a CUDA build of torchvision beside a CPU build of torch. No network
    for classification calls them, so the names suffice.
    """
    try:
        for library in _torchvision_libraries():
            torch.ops.load_library(library)
    except OSError:
        for operator in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)
    return importlib.import_module("timm")


def _torchvision_libraries() -> list[Path]:
    found = importlib.util.find_spec("torchvision")
    return list(Path(found.origin).parent.glob("_C.*")) if found and found.origin else []
