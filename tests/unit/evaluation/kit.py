"""Labelled images and small stores for tests of the evaluation, and reports without either."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from model_store import manifest as manifests
from model_store.images import open_images
from service.evaluation import measures
from service.evaluation.plan import Plan, make_plan
from service.evaluation.results import Agreement, Report, Share, Spread, VariantResult
from service.pipeline import image
from service.pipeline.session import Session, SessionOptions
from service.pipeline.store import scan
from tests.fixtures import jpeg

TRUNCATED = jpeg(64, 48)[:-200]
"""Its header is sound."""
PIXELS = 1_000_000

Make = Callable[[Path, Mapping[str, bytes]], Path]
"""Puts files where the path says."""


def photos(*, classes: int = 3, each: int = 2) -> dict[str, bytes]:
    """Different JPEGs, so many of each of the first classes of a tiny store, by WordNet id."""
    wanted = [(number, copy) for number in range(classes) for copy in range(each)]
    return {f"n{number:08d}/{copy}.jpg": jpeg(96, 64, seed=10 * number + copy) for number, copy in wanted}


def folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """Files in a folder."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def archive(root: Path, files: Mapping[str, bytes]) -> Path:
    """The same in a ZIP."""
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def answer(store: Path, name: str, body: bytes) -> int:
    """What a variant of a store takes an image for, by the parts of the service."""
    (entry,) = (entry for entry in scan(store).entries if entry.manifest.name == name)
    prepared = entry.manifest.preprocessing
    classes, options = entry.manifest.labels.classes, SessionOptions()
    session = Session(entry.graph, input_size_px=prepared.input_size_px, classes=classes, options=options)
    return int(session.run(image.decode(body, prepared)[None])[0].argmax())


def planned(data: Path, store: Path, *names: str, limit: int | None = None) -> Plan:
    """A plan on the CPU."""
    return make_plan(open_images(data), store, names=names, limit=limit, options=SessionOptions())


def relabel(version: Path, text: str) -> None:
    """Give a version other labels, and its manifest their checksum."""
    (version / manifests.LABELS_FILE).write_text(text, encoding="utf-8")
    manifest = manifests.read(version)
    checksum = manifests.sha256_of(version / manifests.LABELS_FILE)
    labels = manifest.labels.model_copy(update={"sha256": checksum, "classes": len(text.splitlines())})
    manifests.write(manifest.model_copy(update={"labels": labels}), version)


def share(hits: int, images: int) -> Share:
    """With its interval."""
    return Share(hits / images, *measures.wilson(hits, images))


def result(name: str, latency_ms: float = 10.0, hits: int = 70, images: int = 100, **changed: object) -> VariantResult:
    """A variant's result."""
    spread = Spread(latency_ms / 2, latency_ms / 4, latency_ms)
    whole = VariantResult(
        name=name, version=1, trained=True, labels="few", images=images, classes=10, classes_total=10,
        top1=share(hits, images), top5=share(images, images), nll=1.0, ece=0.123, temperature=1.5,
        ece_at_temperature=0.045, confidences=(0.25, 0.5, 1.0), decode_ms=spread, inference_ms=spread,
        latency_ms=latency_ms, group=0,
        dominated_by=(), left_out=(), per_class=(),
    )  # fmt: skip
    return replace(whole, **changed)  # type: ignore[arg-type]


def report(*variants: VariantResult, **changed: object) -> Report:
    """A report on a hundred images that all variants agree on in half of the cases."""
    count = len(variants)
    shares = tuple(map(tuple, np.where(np.eye(count, dtype=bool), 1.0, 0.5).tolist()))
    agreement = Agreement(tuple(one.name for one in variants), shares, ((100,) * count,) * count)
    whole = Report(
        dataset="mine", images=100, classes=10, images_found=100, limit=None, threads=2, runtime="a machine",
        variants=variants, agreement=agreement, cascades=(), unreadable=(), unclassed=(), not_evaluated=(),
    )  # fmt: skip
    return replace(whole, **changed)  # type: ignore[arg-type]
