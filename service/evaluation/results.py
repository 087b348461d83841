"""From answers to a report: one frozen record that the tables, the JSON, the plot and the manifest are made of.

Shares are fractions in [0, 1], times milliseconds. The JSON of `effserve evaluate --json` is this record as it stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model_store.manifest import WeightsKind
from service.core.messages import RefusedVariant
from service.evaluation import measures
from service.evaluation.cascades import Cascade, cascades
from service.evaluation.classes import identity
from service.evaluation.measures import Floats, Indices
from service.evaluation.plan import Plan, Subject
from service.evaluation.run import Runs, Sheet

TOP = 5
"""The other accuracy that everybody gives. Of so few classes it would always be 1, and is not given."""

QUANTILES = 51
"""Every second percent."""


@dataclass(frozen=True, slots=True)
class Share:
    """A measured share with its 95 % interval (Wilson)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Times of one step over all images, in milliseconds."""

    median: float
    least: float
    p95: float


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class of one variant."""

    wnid: str
    label: str
    images: int
    top1: Share


@dataclass(frozen=True, slots=True)
class VariantResult:
    """One variant on the images that it has classes for."""

    name: str
    version: int
    trained: bool
    labels: str
    """Name of its label set."""
    images: int
    classes: int
    """Of its classes, those that the images show."""
    classes_total: int
    """Those it chooses among."""
    top1: Share
    top5: Share | None
    """None where the variant has five classes or less."""
    nll: float
    """Negative log-likelihood per image, in nats."""
    ece: float
    """Expected calibration error of the probabilities as served."""
    temperature: float
    """Minimises the negative log-likelihood on these images."""
    ece_at_temperature: float
    confidences: tuple[float, ...]
    """Quantiles of the probability of the most probable class at that temperature, from the least to the largest."""
    decode_ms: Spread
    inference_ms: Spread
    latency_ms: float
    """Median decoding and median inference together: what variants are compared by. Each median alone shrugs off more
    of what else the machine does than the median of the sums."""
    group: int
    """Variants of one group were judged on the same images. Accuracies on different ones say nothing of each other."""
    dominated_by: tuple[str, ...]
    """Variants of the group that are at least as accurate and not slower."""
    left_out: tuple[str, ...]
    """Folders whose class it does not have."""
    per_class: tuple[ClassResult, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two variants call an image the same, for every pair in the order of `variants`."""

    variants: tuple[str, ...]
    shares: tuple[tuple[float | None, ...], ...]
    """None where no image was judged by both."""
    images: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that counts for no variant."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """Whether a variant's figures went into its manifest."""

    name: str
    version: int
    written: bool
    note: str
    """What was written, or why nothing was."""


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation."""

    dataset: str
    images: int
    """Judged by one variant at least."""
    classes: int
    images_found: int
    """With a class that some variant has, before a limit."""
    limit: int | None
    threads: int
    """Images in work at the same time while the times were taken."""
    runtime: str
    """What times depend on: CPU, runtime and provider."""
    variants: tuple[VariantResult, ...]
    """Quickest first."""
    agreement: Agreement
    cascades: tuple[Cascade, ...]
    """The quickest variant followed by each that is more accurate."""
    unreadable: tuple[Unreadable, ...]
    unclassed: tuple[str, ...]
    """Images beside the class folders."""
    not_evaluated: tuple[RefusedVariant, ...]
    recorded: tuple[Recorded, ...] = ()


def make_report(plan: Plan, runs: Runs, *, dataset: str, limit: int | None, threads: int, runtime: str) -> Report:
    """Judge the answers of at least one variant."""
    subjects = [subject for subject in plan.subjects if subject.name in runs.sheets]
    subjects.sort(key=lambda subject: _latency_ms(runs.sheets[subject.name]))
    sheets = [runs.sheets[subject.name] for subject in subjects]
    judged = {position for sheet in sheets for position in sheet.images.tolist()}
    return Report(
        dataset=dataset,
        images=len(judged),
        classes=len({plan.samples[position].label for position in judged}),
        images_found=plan.matched,
        limit=limit,
        threads=threads,
        runtime=runtime,
        variants=_variants(subjects, sheets, plan.images.classes),
        agreement=_agreement(subjects, sheets),
        cascades=tuple(cascades(subjects, sheets)),
        unreadable=tuple(Unreadable(name, reason) for name, reason in runs.unreadable.items()),
        unclassed=plan.images.unclassed,
        not_evaluated=plan.refused + _broken(plan, runs),
    )


def _broken(plan: Plan, runs: Runs) -> tuple[RefusedVariant, ...]:
    versions = {subject.name: str(subject.entry.manifest.version) for subject in plan.subjects}
    broken = tuple(RefusedVariant(name, versions[name], reason) for name, reason in runs.broken.items())
    without = [name for name in versions if name not in runs.sheets and name not in runs.broken]
    return broken + tuple(RefusedVariant(name, versions[name], "none of its images can be read") for name in without)


def _variants(
    subjects: Sequence[Subject], sheets: Sequence[Sheet], folders: Sequence[str]
) -> tuple[VariantResult, ...]:
    groups = list(dict.fromkeys(sheet.images.tobytes() for sheet in sheets))
    alone = [
        _variant(subject, sheet, folders, groups.index(sheet.images.tobytes()))
        for subject, sheet in zip(subjects, sheets, strict=True)
    ]
    return tuple(replace(one, dominated_by=_dominators(one, alone)) for one in alone)


def _dominators(one: VariantResult, results: Sequence[VariantResult]) -> tuple[str, ...]:
    group = [result for result in results if result.group == one.group]
    found = measures.dominators([other.latency_ms for other in group], [other.top1.value for other in group])
    return tuple(group[other].name for other in found[group.index(one)])


def _variant(subject: Subject, sheet: Sheet, folders: Sequence[str], group: int) -> VariantResult:
    """Without its dominators, which take all variants to know."""
    manifest = subject.entry.manifest
    ranks = measures.ranks(sheet.logits, sheet.labels)
    temperature = measures.fit_temperature(sheet.logits, sheet.labels)
    sure = measures.confidences(sheet.logits, temperature)
    per_class = _per_class(subject, sheet.labels, ranks)
    return VariantResult(
        name=manifest.name,
        version=manifest.version,
        trained=manifest.weights.kind is not WeightsKind.UNTRAINED,
        labels=manifest.labels.name,
        images=len(ranks),
        classes=len(per_class),
        classes_total=manifest.labels.classes,
        top1=_share(ranks < 1),
        top5=_share(ranks < TOP) if manifest.labels.classes > TOP else None,
        nll=measures.negative_log_likelihood(sheet.logits, sheet.labels),
        ece=measures.calibration_error(measures.confidences(sheet.logits), ranks < 1),
        temperature=temperature,
        ece_at_temperature=measures.calibration_error(sure, ranks < 1),
        confidences=tuple(np.quantile(sure, np.linspace(0, 1, QUANTILES)).tolist()),
        decode_ms=_spread(sheet.decode_s),
        inference_ms=_spread(sheet.inference_s),
        latency_ms=_latency_ms(sheet),
        group=group,
        dominated_by=(),
        left_out=tuple(folder for position, folder in enumerate(folders) if position not in subject.known),
        per_class=per_class,
    )


def _per_class(subject: Subject, labels: Indices, ranks: Indices) -> tuple[ClassResult, ...]:
    results = []
    for index in np.unique(labels).tolist():
        hits, label = ranks[labels == index] < 1, subject.entry.labels[index]
        results.append(ClassResult(label.wnid, label.text, len(hits), _share(hits)))
    return tuple(results)


def _agreement(subjects: Sequence[Subject], sheets: Sequence[Sheet]) -> Agreement:
    """By what a class is, not by its index: label sets may differ."""
    numbers: dict[str, int] = {}
    called = [_called(subject, sheet, numbers) for subject, sheet in zip(subjects, sheets, strict=True)]
    pairs = [[_pair(one, other) for other in called] for one in called]
    return Agreement(
        variants=tuple(subject.name for subject in subjects),
        shares=tuple(tuple(share for share, _ in row) for row in pairs),
        images=tuple(tuple(images for _, images in row) for row in pairs),
    )


def _called(subject: Subject, sheet: Sheet, numbers: dict[str, int]) -> tuple[Indices, Indices]:
    """Images and what each was called, by numbers that all variants share."""
    shared = [numbers.setdefault(identity(label), len(numbers)) for label in subject.entry.labels]
    return sheet.images, np.array(shared, np.intp)[sheet.logits.argmax(axis=1)]


def _pair(one: tuple[Indices, Indices], other: tuple[Indices, Indices]) -> tuple[float | None, int]:
    both, at_one, at_other = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
    if not len(both):
        return None, 0
    return measures.agreement(one[1][at_one], other[1][at_other]), len(both)


def _share(hits: np.ndarray) -> Share:
    return Share(float(hits.mean()), *measures.wilson(int(hits.sum()), len(hits)))


def _spread(seconds: Floats) -> Spread:
    median, p95 = np.percentile(seconds, (50, 95))
    return Spread(float(median) * 1e3, float(seconds.min()) * 1e3, float(p95) * 1e3)


def _latency_ms(sheet: Sheet) -> float:
    return float(np.median(sheet.decode_s) + np.median(sheet.inference_s)) * 1e3
