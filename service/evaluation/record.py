"""A report's figures into the manifests of the variants it is about, as `measured` accuracy.

Only the manifest is replaced, in one step. What the accuracy was when the version was built is kept beside it, so that
building the same again recognises its own version.
"""

from collections.abc import Sequence
from pathlib import Path

from model_store import manifest as manifests
from model_store.manifest import Accuracy, AccuracySource, Manifest, WeightsKind
from service.evaluation.results import Recorded, Report, Share, VariantResult
from service.pipeline.store import StoredVariant

DIGITS = 6
"""One image of a million."""
CONFIDENCE_DIGITS = 4


def record(report: Report, entries: Sequence[StoredVariant]) -> tuple[Recorded, ...]:
    """Write what can be written; what cannot is said of each variant, and keeps none of the others from it."""
    by_name = {entry.manifest.name: entry for entry in entries}
    return tuple(_record(result, by_name[result.name], report.dataset) for result in report.variants)


def ranked_on(entries: Sequence[StoredVariant]) -> dict[str, list[str]]:
    """By which data set's accuracy each variant in the store is ranked now. Budgets compare them all the same."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        try:
            present = manifests.read(entry.folder)
        except (OSError, ValueError):  # gone or damaged since it was checked: not ranked at the next start
            continue
        if present.accuracy.top1 is not None:
            found.setdefault(present.accuracy.dataset or "unknown data", []).append(present.name)
    return found


def accuracy(result: VariantResult, dataset: str) -> Accuracy:
    """A variant's figures as its manifest has them."""
    return Accuracy(
        top1=round(result.top1.value, DIGITS),
        top5=None if result.top5 is None else round(result.top5.value, DIGITS),
        dataset=dataset,
        source=AccuracySource.MEASURED,
        images=result.images,
        classes=result.classes,
        top1_interval=_interval(result.top1),
        top5_interval=None if result.top5 is None else _interval(result.top5),
        ece=round(result.ece, DIGITS),
        temperature=round(result.temperature, DIGITS),
        confidences=tuple(round(value, CONFIDENCE_DIGITS) for value in result.confidences),
    )


def _record(result: VariantResult, entry: StoredVariant, dataset: str) -> Recorded:
    try:
        note = _write(entry.folder, entry.manifest, accuracy(result, dataset))
    except _Refused as refused:
        return Recorded(result.name, result.version, written=False, note=str(refused))
    except (OSError, ValueError) as error:
        return Recorded(result.name, result.version, written=False, note=" ".join(str(error).split()))
    return Recorded(result.name, result.version, written=True, note=note)


class _Refused(Exception):
    """A manifest that must not be written, and why."""


def _write(folder: Path, evaluated: Manifest, measured: Accuracy) -> str:
    """An evaluation takes long: the manifest is read again, so that nothing written meanwhile is lost."""
    if evaluated.weights.kind is WeightsKind.UNTRAINED:
        raise _Refused("its weights are untrained, so no accuracy is theirs")
    present = manifests.read(folder)
    if present.graph_sha256 != evaluated.graph_sha256:
        raise _Refused("another graph has taken its place meanwhile")
    built = present.built_accuracy or present.accuracy
    manifests.write(present.model_copy(update={"accuracy": measured, "built_accuracy": built}), folder)
    return f"top-1 {measured.top1:.1%} on {measured.dataset}"


def _interval(share: Share) -> tuple[float, float]:
    return round(share.low, DIGITS), round(share.high, DIGITS)
