"""`effserve quantize`: variants in 8-bit integers beside those they are made from, measured before they are kept.

Some of the images settle how (`model_store.builder.quantised`); the others judge: both variants answer them through the
path that serves, and how often only one of them is right goes into the manifest. From that the service works out what
the new one may be ranked by, and its start finds out whether it is quicker on that machine (`service.core.derived`).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store.images import open_images
from model_store.manifest import GRAPH_FILE, LABELS_FILE, Accuracy, Manifest, Quantisation, WeightsKind, sha256_of
from service.commands.build import one_line_errors as one_line_build_errors
from service.commands.console import Steps, out, print_json, print_table, progress
from service.commands.evaluate import chosen_settings, session_options
from service.commands.evaluate import one_line_errors as one_line_evaluation_errors
from service.core.derived import LEAST_GAIN
from service.evaluation import beside, record
from service.evaluation.beside import Split
from service.evaluation.plan import EvaluationError, Plan, Subject, make_plan
from service.evaluation.results import VariantResult, make_report
from service.evaluation.run import Evaluation, Runs
from service.pipeline.cpus import saturates, usable_cores
from service.pipeline.executor import Runner
from service.pipeline.graphs import open_session
from service.pipeline.session import SessionOptions
from service.pipeline.store import StoredVariant

if TYPE_CHECKING:
    from model_store.builder.quantised import Quantised
    from model_store.builder.store import Stored

SUFFIX = "-int8"
CALIBRATION_IMAGES = 128
MAX_PIXELS = 50_000_000
COLUMNS = [
    ("variant", "left"), ("version", "right"), ("size", "right"), ("top-1", "right"), ("before", "right"),
    ("ranked by", "right"), ("ms", "right"), ("before", "right"), ("method", "left"), ("in float32", "left"),
    ("", "left"),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be quantised, by which images."""

    variants: Sequence[str]
    data: Path
    store: Path | None = None
    dataset: str | None = None
    calibrate_images: int = CALIBRATION_IMAGES
    seed: int = 0
    reduce_range: bool | None = None
    """None: where this processor needs it."""
    tolerance_nats: float | None = None
    """How far probabilities may diverge before parts stay in float32. None: see `model_store.builder.quantised`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A version in the store, beside what it was made from."""

    stored: "Stored"
    manifest: Manifest
    ranked_by: float
    before: VariantResult
    after: VariantResult


def quantize(asked: Asked, *, as_json: bool) -> None:
    """Make them, and show what it cost and gained."""
    count = len(asked.variants)
    with one_line_build_errors(), one_line_evaluation_errors(), progress(count, "quantising") as steps:
        outcomes = [_quantised(asked, name, steps) for name in asked.variants]
        steps.end()
    if as_json:
        print_json([_record(one) for one in outcomes])
        return
    print_table("", COLUMNS, [_row(one) for one in outcomes])
    out.print(
        "ms: the quickest run of each, all cores at work. A server calibrates them on its own machine, and budgets "
        f"choose a quantised variant only where it saves {LEAST_GAIN:.0%} or more.",
        style="dim", highlight=False,
    )  # fmt: skip


def _quantised(asked: Asked, name: str, steps: Steps) -> Outcome:
    steps.begin(name)
    chosen = chosen_settings(asked.store)
    store, options = chosen.store.dir, session_options(chosen)
    plan = _plan(asked, name, store, options)
    split = beside.split(plan.samples, asked.calibrate_images, asked.seed)
    (original,) = plan.subjects
    reduced = saturates() if asked.reduce_range is None else asked.reduce_range
    made = _made(plan, split, asked.tolerance_nats, reduced_range=reduced)
    with tempfile.TemporaryDirectory() as folder:
        other = _subject(original, made, Path(folder), options)
        runs, before, after = _judged(plan, split, original, other)
    dataset = asked.dataset or plan.images.name
    told = Quantisation(
        original=name,
        original_version=original.entry.manifest.version,
        original_sha256=original.entry.manifest.graph_sha256,
        method=made.method,
        reduced_range=reduced,
        dataset=dataset,
        seed=asked.seed,
        calibration_images=len(split.settling),
        in_float=made.in_float,
        comparison=beside.compared(
            runs.sheets[name], runs.sheets[name + SUFFIX], original_top1=original.entry.variant().rank_top1
        ),
    )
    return _kept(original.entry, made, told, record.accuracy(after, dataset), store, before, after)


def _plan(asked: Asked, name: str, store: Path, options: SessionOptions) -> Plan:
    """The variant and the images of its classes. Raises `EvaluationError` for what is not to be quantised."""
    plan = make_plan(open_images(asked.data), store, names=[name], limit=None, options=options)
    manifest = plan.subjects[0].entry.manifest
    if manifest.quantisation is not None:
        raise EvaluationError(f"{name} is quantised already, from {manifest.quantisation.original}")
    if manifest.weights.kind is WeightsKind.UNTRAINED:
        raise EvaluationError(f"{name} has untrained weights: there is no accuracy to lose, and none to measure")
    taken = next((entry for entry in plan.entries if entry.manifest.name == name + SUFFIX), None)
    if taken is not None and (taken.manifest.quantisation is None or taken.manifest.quantisation.original != name):
        raise EvaluationError(f"{name + SUFFIX} is in the store, and was not made from {name}")
    return plan


def _made(plan: Plan, split: Split, tolerance_nats: float | None, *, reduced_range: bool) -> "Quantised":
    from model_store.builder.quantised import TOLERANCE_NATS, quantised

    entry = plan.subjects[0].entry
    pixels = beside.prepared(plan.images, split.settling, entry.manifest.preprocessing)
    tolerance_nats = TOLERANCE_NATS if tolerance_nats is None else tolerance_nats
    return quantised(entry.graph, pixels, reduced_range=reduced_range, tolerance_nats=tolerance_nats)


def _subject(original: Subject, made: "Quantised", folder: Path, options: SessionOptions) -> Subject:
    """The graph, opened as a lane would have it."""
    graph = folder / GRAPH_FILE
    graph.write_bytes(made.content)
    manifest = original.entry.manifest
    told = {"name": manifest.name + SUFFIX, "graph_sha256": sha256_of(graph)}
    entry = StoredVariant(manifest.model_copy(update=told), folder, original.entry.labels)
    session = open_session(entry, options)
    session.warm_up()
    return Subject(entry, Runner(session, manifest.preprocessing), original.known)


def _judged(plan: Plan, split: Split, original: Subject, other: Subject) -> tuple[Runs, VariantResult, VariantResult]:
    """Both on images that had no part in it."""
    whole = Plan(plan.images, split.judging, plan.matched, (original, other), plan.entries, ())
    threads = usable_cores()
    runs = Evaluation(whole.images, whole.samples, whole.subjects, max_pixels=MAX_PIXELS).run(threads=threads)
    for name, reason in runs.broken.items():
        raise EvaluationError(f"{name}: {reason}")
    if not runs.sheets:
        raise EvaluationError(
            f"none of {len(split.judging)} images can be read: {next(iter(runs.unreadable.values()))}"
        )
    report = make_report(whole, runs, dataset="", limit=None, threads=threads, runtime="")
    results = {result.name: result for result in report.variants}
    return runs, results[original.name], results[other.name]


def _kept(
    original: StoredVariant,
    made: "Quantised",
    told: Quantisation,
    accuracy: Accuracy,
    store: Path,
    before: VariantResult,
    after: VariantResult,
) -> Outcome:
    from model_store import manifest as manifests
    from model_store.builder.count import Counts
    from model_store.builder.recipes import Labels
    from model_store.builder.store import Draft, check_name, put

    manifest = original.manifest
    check_name(manifest.name + SUFFIX)
    draft = Draft(
        name=manifest.name + SUFFIX,
        architecture=manifest.architecture,
        preprocessing=manifest.preprocessing,
        labels=manifest.labels,
        weights=manifest.weights,
        accuracy=accuracy,
        built_with=f"effserve {installed_version('effserve')}, onnxruntime {installed_version('onnxruntime')}",
        quantisation=told,
    )

    def write(path: Path) -> Counts:
        path.write_bytes(made.content)
        return Counts(manifest.params, manifest.macs)

    labels = Labels(manifest.labels.name, (original.folder / LABELS_FILE).read_bytes())
    stored = put(draft, store, labels=labels, write=write)
    written = manifests.read(stored.folder)
    entry = StoredVariant(written, stored.folder, original.labels)
    return Outcome(stored, written, entry.variant().rank_top1 or 0.0, before, after)


def _record(one: Outcome) -> dict[str, Any]:
    return asdict(one.stored) | {
        "folder": str(one.stored.folder),
        "ranked_by": one.ranked_by,
        "inference_ms": one.after.inference_ms.least,
        "original_inference_ms": one.before.inference_ms.least,
        "original_top1": one.before.top1.value,
        "manifest": one.manifest.model_dump(mode="json"),
    }


def _row(one: Outcome) -> list[str]:
    made = one.manifest.quantisation
    top1 = one.after.top1
    return [
        one.stored.name,
        str(one.stored.version),
        f"{one.stored.graph_bytes / 1e6:.1f} MB",
        f"{top1.value:.1%} ({top1.low:.1%} to {top1.high:.1%})",
        f"{one.before.top1.value:.1%}",
        f"{one.ranked_by:.1%}",
        f"{one.after.inference_ms.least:.2f}",
        f"{one.before.inference_ms.least:.2f}",
        "" if made is None else made.method,
        "" if made is None else ", ".join(made.in_float) or "nothing",
        "kept" if one.stored.kept else "built",
    ]
