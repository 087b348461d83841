"""`effserve import`: a network made elsewhere becomes a variant of the store.

An ONNX file, or one of timm's networks by name. Needs the `build` extra, timm's networks the `timm` extra too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.commands.build import UNKNOWN_LICENCE, as_record, one_line_errors, show, store_folder
from service.commands.console import Steps, fail, out, print_json, progress

if TYPE_CHECKING:
    from model_store.builder.fitting import Normalisation, Told
    from model_store.builder.imported import Origin, Wishes
    from model_store.manifest import Accuracy, Manifest

TIMM = "timm:"
TIMM_EXTRA = {"torch", "timm", "torchvision"}
CHOICES = {
    "--layout": ("nchw", "nhwc"),
    "--channels": ("rgb", "bgr"),
    "--range": ("0-1", "0-255", "-1-1"),
    "--crop-mode": ("center", "squash"),
    "--interpolation": ("bicubic", "bilinear"),
}
"""What an option may be."""

NEXT = (
    "`effserve evaluate --data DIR --variants {name} --write` measures it: a wrong mean, crop or order of colours "
    "shows there, and nowhere else"
)

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Network:
    """What an ONNX file does not say of itself. timm knows it of its networks."""

    layout: str | None = None
    channels: str | None = None
    range: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    output: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Preparation:
    """How images are cut to size. None: as is usual, or as timm knows."""

    input_size: int | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be imported, and as what."""

    source: str
    name: str | None = None
    labels: Path | None = None
    network: Network = field(default_factory=Network)
    preparation: Preparation = field(default_factory=Preparation)
    accuracy: float | None = None
    """Top-1 of these weights as the user measured it, on `dataset`."""
    dataset: str | None = None
    untrained: bool = False
    seed: int | None = None
    store: Path | None = None

    @property
    def timm_name(self) -> str | None:
        """Of a network of timm; None for a file."""
        return self.source.removeprefix(TIMM) if self.source.startswith(TIMM) else None


def import_network(asked: Asked, *, as_json: bool) -> None:
    """Make it a variant, and say what was taken for granted."""
    _check(asked)
    with one_line_errors(), _timm_needed():
        from model_store import manifest as manifests
        from model_store.builder.imported import add

        folder = store_folder(asked.store)
        with progress(2, "importing") as steps:
            origin, wishes = _prepared(asked, steps)
            steps.begin("fit and try")
            stored = add(origin, wishes, folder)
            steps.end()
        manifest = manifests.read(stored.folder)
    if as_json:
        print_json([as_record(stored) | {"manifest": manifest.model_dump(mode="json")}])
        return
    show([stored], as_json=False)
    for heading, text in _explained(manifest):
        out.print(f"{heading:<10}{text}", highlight=False, markup=False, soft_wrap=True)


def _check(asked: Asked) -> None:
    """Say what does not go together before anything is read."""
    given = _given(asked)
    for option, allowed in CHOICES.items():
        if option in given and given[option] not in allowed:
            fail(f"{option} is one of {', '.join(allowed)}, not {given[option]!r}")
    if (asked.accuracy is None) != (asked.dataset is None):
        fail("--accuracy and --dataset go together: an accuracy is one on some images")
    _check_normalisation(asked.network)
    if asked.timm_name is None and asked.untrained:
        fail("--untrained goes with timm:NAME; a file has its weights inside")
    if asked.seed is not None and not asked.untrained:
        fail("--seed goes with --untrained")
    if asked.timm_name is not None:
        _check_timm(asked)


def _check_normalisation(network: Network) -> None:
    if (network.mean is None) != (network.std is None):
        fail("--mean and --std go together")
    if network.range is not None and network.mean is not None:
        fail("--range is a mean and deviation of its own: leave out --mean and --std")
    if network.std is not None and min(network.std) <= 0:
        fail(f"--std is above 0 for each colour, not {_triple(network.std)}")


def _check_timm(asked: Asked) -> None:
    told = list(_options(asdict(asked.network)))
    if told:
        fail(f"{told[0]} goes with an ONNX file; of its networks timm knows it")
    if asked.untrained and asked.accuracy is not None:
        fail("untrained weights have no accuracy: leave out --accuracy")


def _given(asked: Asked) -> dict[str, Any]:
    return _options(asdict(asked.network) | asdict(asked.preparation))


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """Those that were given, by their names on the command line."""
    return {"--" + name.replace("_", "-"): value for name, value in values.items() if value is not None}


def _prepared(asked: Asked, steps: Steps) -> "tuple[Origin, Wishes]":
    """The network, and what it is to become."""
    from model_store.builder.imported import Wishes, from_file
    from model_store.builder.recipes import default_labels
    from model_store.builder.spec import known_names

    labels = asked.labels or default_labels()
    if asked.name in known_names():
        fail(f"{asked.name} is the name of a published variant; give this network another one")
    if asked.timm_name is None:
        file = Path(asked.source)
        steps.begin(f"read {file.name}")
        origin = from_file(file, asked.network.licence or UNKNOWN_LICENCE)
        return origin, _as_told(Wishes(asked.name or file.stem.lower(), labels, _told(asked)), asked)
    from model_store.builder import timm_export

    steps.begin(f"export {asked.timm_name}")
    seed = (asked.seed or 0) if asked.untrained else None
    wanted = timm_export.Asked(asked.timm_name, seed, asked.preparation.input_size)
    origin, wishes = timm_export.prepared(wanted, asked.name, labels)
    return origin, _as_told(wishes, asked)


def _told(asked: Asked) -> "Told":
    from model_store.builder.fitting import RANGES, Told

    network = asked.network
    normalisation: Normalisation | None = RANGES[network.range] if network.range is not None else None
    if network.mean is not None and network.std is not None:
        normalisation = (network.mean, network.std)
    given = {"layout": network.layout, "channels": network.channels, "output": network.output}
    return Told(
        size=asked.preparation.input_size,
        normalisation=normalisation,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]  # checked
    )


def _as_told(wishes: "Wishes", asked: Asked) -> "Wishes":
    """With the user's cut, and the user's accuracy. A publisher's holds for the publisher's cut alone."""
    cut = {name: value for name, value in asdict(asked.preparation).items() if value is not None}
    cut.pop("input_size", None)
    accuracy = _measured(asked, wishes.accuracy, cut_otherwise=bool(cut))
    return replace(wishes, accuracy=accuracy, **cut)


def _measured(asked: Asked, published: "Accuracy", *, cut_otherwise: bool) -> "Accuracy":
    from model_store.manifest import Accuracy, AccuracySource

    if asked.accuracy is not None:
        return Accuracy(top1=asked.accuracy, dataset=asked.dataset, source=AccuracySource.MEASURED)
    return Accuracy() if cut_otherwise else published


def _explained(manifest: "Manifest") -> Iterator[tuple[str, str]]:
    """What the variant is taken to be, in words."""
    from model_store.manifest import ImportedArchitecture, WeightsKind

    cut, network = manifest.preprocessing, manifest.architecture
    if isinstance(network, ImportedArchitecture):
        order = f"{network.layout.upper()} {network.element_type}, {network.channels.upper()}"
        yield "takes", f"{order}, {cut.input_size_px} px; mean {_triple(cut.mean)}, deviation {_triple(cut.std)}"
        yield "gives", f"{network.output!r}, {manifest.labels.classes} classes of {manifest.labels.name}"
    yield "images", f"{cut.interpolation}, {cut.crop_mode}, {cut.crop_pct:g} of the resized edge"
    yield "ranked", _ranked(manifest)
    if manifest.weights.kind is not WeightsKind.UNTRAINED:
        yield "next", NEXT.format(name=manifest.name)


def _ranked(manifest: "Manifest") -> str:
    from model_store.manifest import WeightsKind

    accuracy, published = manifest.accuracy, manifest.architecture.published_top1
    if accuracy.top1 is not None:
        return f"by top-1 {accuracy.top1:.1%} on {accuracy.dataset} ({accuracy.source})"
    if manifest.weights.kind is WeightsKind.UNTRAINED and published is not None:
        return f"by {published:.1%}, published for the architecture; `effserve serve --route-untrained` only"
    return "no: budgets do not choose it, requests may name it; --accuracy and --dataset rank it"


def _triple(values: Triple) -> str:
    return " ".join(f"{value:.4g}" for value in values)


@contextmanager
def _timm_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TIMM_EXTRA:
            raise
        fail("networks of timm need torch: pip install 'effserve[timm]'")
