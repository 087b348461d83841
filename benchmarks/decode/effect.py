"""What the quick way changes in answers: logits, classes, and on labelled images how many are right."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.decode.carriers import enlarged
from benchmarks.decode.study import Effect, Pooled
from model_store.images import ImageSet, open_images
from model_store.manifest import Preprocessing
from service.evaluation.classes import known
from service.evaluation.measures import Z_95
from service.evaluation.plan import evenly
from service.pipeline import cropping, image
from service.pipeline.session import Session, SessionOptions
from service.pipeline.store import StoredVariant, scan


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files with what they show, where that is known."""

    name: str
    bodies: Sequence[bytes]
    wnids: Sequence[str]
    """Empty where it is not."""
    subjects: Sequence[int]
    """Which image of its set each is made of."""


def of_folder(folder: Path) -> Pictures:
    """Photos, called `<WordNet id>_<name>` or lying in folders of that name. Raises `ImagesError`."""
    return _pictures("photos", open_images(folder), None)


def of_labelled(path: Path, times: Sequence[int], most: int | None) -> list[Pictures]:
    """Labelled images as they are, and enlarged. Raises `ImagesError`."""
    plain = _pictures(path.stem, open_images(path), most)
    larger = [
        Pictures(
            f"{plain.name}, {factor} times as large",
            [enlarged(body, factor, seed) for seed, body in enumerate(plain.bodies)],
            plain.wnids,
            plain.subjects,
        )
        for factor in times
    ]
    return [plain, *larger]


def _pictures(name: str, images: ImageSet, most: int | None) -> Pictures:
    samples = images.samples if most is None else evenly(images.samples, most)
    bodies = [images.read(sample) for sample in samples]
    return Pictures(name, bodies, [images.classes[sample.label] for sample in samples], range(len(bodies)))


@dataclass(frozen=True, slots=True)
class Answers:
    """One network's on one set of pictures."""

    effect: Effect
    change: Mapping[int, int]
    """By labelled image: 1 where only the quick way is right, -1 where only the exact one is, else 0."""


def answers(store: Path, sets: Sequence[Pictures]) -> Iterator[Answers]:
    """Every network of the store on every set. Raises `StoreError`, `SessionError`."""
    for entry in scan(store).entries:
        manifest = entry.manifest
        size_px, classes = manifest.preprocessing.input_size_px, manifest.labels.classes
        session = Session(entry.graph, input_size_px=size_px, classes=classes, options=SessionOptions())
        for pictures in sets:
            yield _compared(entry, session, pictures)


def _compared(entry: StoredVariant, session: Session, pictures: Pictures) -> Answers:
    wanted = entry.manifest.preprocessing
    quick, exact = (
        np.concatenate([session.run(image.decode(body, wanted, exact=way)[None]) for body in pictures.bodies])
        for way in (False, True)
    )
    named = known(pictures.wnids, entry.labels)
    rows, labels = np.array(list(named), np.intp), np.array(list(named.values()), np.intp)
    first, reference = quick.argmax(axis=1), exact.argmax(axis=1)
    was, now = reference[rows] == labels, first[rows] == labels
    change = now.astype(int) - was.astype(int)
    apart = np.abs(quick - exact)
    effect = Effect(
        variant=entry.manifest.name,
        size_px=wanted.input_size_px,
        images=pictures.name,
        count=len(pictures.bodies),
        reduced=sum(reduced(body, wanted) for body in pictures.bodies),
        logit_mean=float(apart.mean()),
        logit_most=float(apart.max()),
        logit_spread=float(exact.std()),
        changed=int((first != reference).sum()),
        labelled=len(rows),
        right=int(was.sum()),
        lost=int((change < 0).sum()),
        gained=int((change > 0).sum()),
    )
    subjects = (pictures.subjects[row] for row in rows.tolist())
    return Answers(effect, dict(zip(subjects, change.tolist(), strict=True)))


def reduced(body: bytes, wanted: Preprocessing) -> bool:
    """Whether the quick way decodes a JPEG at a reduced scale: Pillow, too, halves while the rest is large enough."""
    with Image.open(io.BytesIO(body)) as opened:
        short = min(opened.size)
        return opened.format == "JPEG" and short // math.ceil(image.DRAFT_MARGIN * cropping.target_px(wanted)) >= 2


def pooled(found: Sequence[Answers]) -> Pooled | None:
    """Over networks and sizes of the same labelled images; None without any."""
    changes: dict[int, list[int]] = {}
    for one in found:
        for subject, change in one.change.items():
            changes.setdefault(subject, []).append(change)
    if len(changes) < 2:
        return None
    means = np.array([np.mean(one) for one in changes.values()])
    every = [change for one in changes.values() for change in one]
    return Pooled(
        images=len(means),
        answers=len(every),
        lost=every.count(-1),
        gained=every.count(1),
        change=float(means.mean()),
        interval=interval(means),
    )


def interval(means: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of values between -1 and 1: normal, with one image more that changes to the better and
    one that does to the worse, without which images that all stay as they are would give an interval of no width."""
    observed = np.concatenate([means, [-1.0, 1.0]])
    half = Z_95 * float(observed.std()) / math.sqrt(len(observed))
    return float(observed.mean()) - half, float(observed.mean()) + half
