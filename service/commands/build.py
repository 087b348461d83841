"""The commands that fill the model store: `build` from seeded weights or a file, `pull` from the model hub.

The one place of the service that reaches the builder, and only inside functions: it needs the `build` extra, which a
serving install does not have. A failure of the builder ends the command with one line.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.commands.console import PlainSteps, Steps, fail, out, print_json, print_table, progress

if TYPE_CHECKING:
    from model_store.builder.recipes import Recipe
    from model_store.builder.spec import Padding, Spec
    from model_store.builder.store import Stored
    from model_store.manifest import Accuracy
    from model_store.trained import Trained

    Job = tuple[str, Callable[[], Stored]]

UNTRAINED, BUNDLED = "untrained", "bundled"
UNKNOWN_LICENCE = "unknown"
LEVELS = tuple(f"b{number}" for number in range(8))
PADDINGS: dict[str, "Padding"] = {"same": "same", "symmetric": "symmetric"}
BUILD_EXTRA = {"onnx", "onnx_ir", "onnxscript", "safetensors", "huggingface_hub"}
COLUMNS = [
    ("variant", "left"),
    ("version", "right"),
    ("params", "right"),
    ("MACs", "right"),
    ("size", "right"),
    ("", "left"),
]


@dataclass(frozen=True, slots=True)
class Custom:
    """A level of the user's own: by φ alone, or by width, depth and resolution together."""

    phi: float | None = None
    width: float | None = None
    depth: float | None = None
    resolution: int | None = None
    name: str | None = None

    @property
    def asked(self) -> bool:
        """Whether any of it was given."""
        return self != Custom()


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights of a build come from, and what the user knows about them."""

    weights: str = UNTRAINED
    """`untrained`, `bundled`, or the path of a .safetensors file."""
    seed: int = 0
    tag: str | None = None
    """The published checkpoint that the user says the file is; settles padding and preprocessing. Not accuracy:
    nothing shows that the file earned it."""
    padding: str | None = None
    licence: str | None = None
    top1: float | None = None
    """Measured by the user on these weights, on `dataset`."""
    dataset: str | None = None

    @property
    def told(self) -> bool:
        """Whether anything is told about a file besides where it is."""
        return any(value is not None for value in _facts(self).values())


def build(
    variants: Sequence[str],
    *,
    custom: Custom,
    source: Source,
    labels: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Build variants (default: b0…b7) into the store and show what is there now."""
    with one_line_errors():
        from model_store.builder.store import add

        recipes, folder = _recipes(variants, custom, source, labels), store_folder(store)

        def build_one(recipe: "Callable[[], Recipe]") -> "Stored":
            return add(recipe(), folder)

        with progress(len(recipes), "building") as steps:
            stored = _run([(name, partial(build_one, recipe)) for name, recipe in recipes], steps)
        show(stored, as_json)


def pull(variants: Sequence[str], *, tag: str, store: Path | None, as_json: bool) -> None:
    """Fetch the checkpoint `tag` of each level (default: b0…b7), build it, and show what is there now."""
    with one_line_errors():
        from model_store.builder import pull as puller

        levels, folder = variants or LEVELS, store_folder(store)
        for level in levels:
            puller.find(level, tag)
        # The hub's client draws a bar of its own, in bytes; two bars at once would overwrite each other.
        steps = PlainSteps(len(levels), "pulling")
        show(_run([(level, partial(puller.pull, level, tag, folder)) for level in levels], steps), as_json)


def _run(jobs: "Sequence[Job]", steps: Steps) -> "list[Stored]":
    stored = []
    for name, job in jobs:
        steps.begin(name)
        stored.append(job())
    steps.end()
    return stored


def _recipes(
    variants: Sequence[str], custom: Custom, source: Source, labels: Path | None
) -> "list[tuple[str, Callable[[], Recipe]]]":
    """What is to be built, by name; made one after another, because weights take memory."""
    files = _own_files(variants, source)
    if files:
        if custom.asked or labels is not None or source.told:
            fail("files of `effserve train` say themselves what they are; give no more than --weights and --store")
        from model_store.builder.recipes import from_trained

        return [(header.spec.name, partial(from_trained, path, header)) for path, header in files]
    specs = _specs(variants, custom)
    _check(source, specs, custom)
    return [(spec.name, partial(_recipe, spec, source, labels)) for spec in specs]


def _own_files(variants: Sequence[str], source: Source) -> "list[tuple[Path, Trained]]":
    """Files that training or packing wrote, with their headers: the bundled ones, or the one that was named."""
    from model_store.trained import bundled, read_header

    if source.weights == UNTRAINED:
        return []
    if source.weights == BUNDLED:
        known = bundled()
        lacking = [name for name in variants if name not in known]
        if lacking or not known:
            there = ", ".join(sorted(known)) or "none"
            fail(f"no weights are bundled for {', '.join(lacking) or 'any'}; there are {there}")
        return [known[name] for name in variants or known]
    path = Path(source.weights)
    header = read_header(path) if path.is_file() else None
    if header is not None and list(variants) not in ([], [header.spec.name]):
        fail(f"{path} is a {header.spec.name}, not {' '.join(variants)}")
    return [] if header is None else [(path, header)]


def _specs(variants: Sequence[str], custom: Custom) -> "list[Spec]":
    from model_store.builder.spec import resolve

    if not custom.asked:
        return [resolve(name) for name in variants or LEVELS]
    if variants:
        fail("name variants, or describe a custom level, not both")
    return [_custom_spec(custom)]


def _custom_spec(custom: Custom) -> "Spec":
    from model_store.builder import spec as specs

    width, depth, resolution = custom.width, custom.depth, custom.resolution
    if custom.name in specs.known_names():
        fail(f"{custom.name} is the name of a published variant; give the custom level another one")
    if custom.phi is not None and (width, depth, resolution) == (None, None, None):
        return specs.compound(custom.phi, custom.name)
    if custom.phi is not None or width is None or depth is None or resolution is None:
        fail("a custom level is --phi alone, or --width, --depth and --resolution together")
    name = custom.name or f"w{width:g}-d{depth:g}-r{resolution}"
    return specs.custom(name, width=width, depth=depth, resolution=resolution)


def _check(source: Source, specs: "Sequence[Spec]", custom: Custom) -> None:
    """Say what does not go together before anything is built."""
    told = [option for option, value in _facts(source).items() if value is not None]
    if source.weights == UNTRAINED:
        if told:
            fail(f"{told[0]} goes with --weights FILE.safetensors")
        return
    if len(specs) != 1:
        fail("a checkpoint file belongs to one variant: name it, e.g. `effserve build b0 --weights FILE.safetensors`")
    if source.tag is not None and (source.padding is not None or custom.asked):
        fail("--tag names a published checkpoint; its padding and level are known")
    if (source.top1 is None) != (source.dataset is None):
        fail("--top1 and --dataset go together: an accuracy is one on some images")
    if source.padding not in (None, *PADDINGS):
        fail(f"--padding is {' or '.join(PADDINGS)}, not {source.padding!r}")


def _facts(source: Source) -> dict[str, str | None]:
    return {
        "--tag": source.tag,
        "--padding": source.padding,
        "--licence": source.licence,
        "--top1": None if source.top1 is None else str(source.top1),
        "--dataset": source.dataset,
    }


def _recipe(spec: "Spec", source: Source, labels: Path | None) -> "Recipe":
    from model_store.builder import pull as puller
    from model_store.builder.recipes import default_labels, from_file, untrained

    labels = labels or default_labels()
    if source.weights == UNTRAINED:
        return untrained(spec, source.seed, labels)
    file = Path(source.weights)
    if source.tag is not None:
        chosen = puller.find(spec.name, source.tag)
        recipe = replace(puller.recipe(chosen, file, labels), licence=source.licence or chosen.licence)
    else:
        shaped = replace(spec, padding=PADDINGS[source.padding or spec.padding])
        recipe = from_file(shaped, file, licence=source.licence or UNKNOWN_LICENCE, labels=labels)
    weights = replace(recipe.weights, source=file.name)
    return replace(recipe, weights=weights, accuracy=_measured(source))


def _measured(source: Source) -> "Accuracy":
    """What the user measured; nothing else is known of a file."""
    from model_store.manifest import Accuracy, AccuracySource

    if source.top1 is None:
        return Accuracy()
    return Accuracy(top1=source.top1, dataset=source.dataset, source=AccuracySource.MEASURED)


def store_folder(store: Path | None) -> Path:
    """The folder told, or that of the settings."""
    if store is not None:
        return store
    from service import settings

    config = os.environ.get("EFFSERVE_CONFIG")
    return settings.load(Path(config) if config else None).store.dir


def show(stored: "Sequence[Stored]", as_json: bool) -> None:
    """What is in the store now, as a table or for machines."""
    if as_json:
        print_json([as_record(entry) for entry in stored])
        return
    print_table("", COLUMNS, [_row(entry) for entry in stored])
    for folder in sorted({entry.folder.parents[1] for entry in stored}):
        out.print(f"in {folder}", style="dim", highlight=False, markup=False, soft_wrap=True)


def as_record(entry: "Stored") -> dict[str, Any]:
    """For machines."""
    return asdict(entry) | {"folder": str(entry.folder)}


def _row(entry: "Stored") -> list[str]:
    return [
        entry.name,
        str(entry.version),
        f"{entry.params / 1e6:.1f}M",
        f"{entry.macs / 1e9:.3g}G",
        f"{entry.graph_bytes / 1e6:.1f} MB",
        "kept" if entry.kept else "built",
    ]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A failure of the builder ends the command with one line."""
    try:
        from model_store.builder.build import BuildError
        from model_store.builder.pull import PullError
        from model_store.builder.weights import WeightsError
        from model_store.trained import TrainedFileError
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in BUILD_EXTRA:
            raise
        fail("building needs more packages than serving: pip install 'effserve[build]'")
    from service.settings import SettingsError

    try:
        yield
    except (BuildError, PullError, TrainedFileError, WeightsError, SettingsError, ValueError, OSError) as error:
        fail(" ".join(str(error).split()))
