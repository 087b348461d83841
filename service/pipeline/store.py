"""The model store as the service sees it: which variants are intact, and which are refused and why.

Layout: `<store>/<name>/<version>/{model.onnx, labels.tsv, manifest.json}`. Each file is checked against the checksum
in its manifest before anything is loaded. A damaged or tampered version is refused by name; the newest intact version
of each variant is served.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from model_store import manifest as manifests
from model_store.manifest import AccuracySource as ManifestSource
from model_store.manifest import Comparison, Manifest, WeightsKind
from service.core.derived import Paired, counted_top1
from service.core.messages import Label, RefusedVariant
from service.core.values import AccuracySource, Variant


class StoreError(Exception):
    """The store as a whole cannot be served: it is missing, empty, or nothing in it is intact."""


@dataclass(frozen=True, slots=True)
class StoredVariant:
    """One intact version of one variant."""

    manifest: Manifest
    folder: Path
    labels: tuple[Label, ...]

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.folder / manifests.GRAPH_FILE

    @property
    def temperature(self) -> float:
        """What logits are divided by for a probability that means what it says; 1 where none was fitted."""
        return self.manifest.accuracy.temperature or 1.0

    def variant(self) -> Variant:
        """As the policy sees it.

        Untrained weights are ranked by what was published for their architecture, and marked so; weights of unknown
        accuracy are not ranked; quantised ones by their original's accuracy, less what the comparison leaves open.
        """
        accuracy, trained = self.manifest.accuracy, self.manifest.weights.kind is not WeightsKind.UNTRAINED
        rank, source = accuracy.top1, _SOURCES[accuracy.source]
        if not trained and self.manifest.architecture.published_top1 is not None:
            rank, source = self.manifest.architecture.published_top1, AccuracySource.ARCHITECTURE
        made = self.manifest.quantisation
        if made is not None:
            rank = counted_top1(made.comparison.original_top1, _paired(made.comparison))
        original = None if made is None else made.original
        return Variant(self.manifest.name, self.manifest.version, rank, source, trained, original)


@dataclass(frozen=True, slots=True)
class StoreScan:
    """What a store holds."""

    entries: tuple[StoredVariant, ...]
    """The newest intact version of each variant, by name."""
    refused: tuple[RefusedVariant, ...]


_SOURCES = {
    ManifestSource.MEASURED: AccuracySource.MEASURED,
    ManifestSource.PUBLISHED: AccuracySource.PUBLISHED,
    ManifestSource.NONE: AccuracySource.NONE,
}


def _paired(comparison: Comparison) -> Paired:
    return Paired(comparison.images, comparison.only_original, comparison.only_this)


def scan(store_dir: Path, *, threads: int = 2) -> StoreScan:
    """Check every version in the store. Raises `StoreError` when there is nothing to check."""
    return _scan(store_dir, threads, _check)


class StoreReader:
    """Looks at a store again and again. Not thread-safe."""

    def __init__(self, store_dir: Path) -> None:
        self._dir = store_dir
        self._known: dict[Path, tuple[_Stamp, StoredVariant | RefusedVariant]] = {}

    def scan(self) -> StoreScan:
        """As `scan`, but reads again only files whose size or time of change is not what it was."""
        return _scan(self._dir, 1, self._checked)

    def find(self, name: str, version: int | None = None) -> StoredVariant | RefusedVariant | None:
        """The newest version of a variant, or the one asked for, read anew; None when there is none."""
        folders = {folder.name: folder for folder in _folders(self._dir) if folder.parent.name == name}
        if version is None:
            version = max((int(number) for number in folders if number.isdecimal()), default=0)
        return _check(folders[str(version)]) if str(version) in folders else None

    def versions(self) -> list[tuple[str, str]]:
        """Name and version of whatever is there, unread."""
        return [(folder.parent.name, folder.name) for folder in _folders(self._dir)]

    def _checked(self, folder: Path) -> StoredVariant | RefusedVariant:
        stamp = _stamp(folder)
        known = self._known.get(folder)
        if known is None or known[0] != stamp:
            known = self._known[folder] = stamp, _check(folder)
        return known[1]


_Stamp = frozenset[tuple[str, int, int, int]]


def _stamp(folder: Path) -> _Stamp:
    """What changes when a file is written or put in another one's place. Whether something can be read is for the check
    to say."""
    try:
        return frozenset(map(_file_stamp, folder.iterdir()))
    except OSError:
        return frozenset()


def _file_stamp(file: Path) -> tuple[str, int, int, int]:
    try:
        stat = file.stat()
    except OSError:
        # A link that leads nowhere, or a file that is gone again.
        return file.name, -1, -1, -1
    return file.name, stat.st_size, stat.st_mtime_ns, stat.st_ino


def _scan(store_dir: Path, threads: int, check: Callable[[Path], StoredVariant | RefusedVariant]) -> StoreScan:
    folders = _folders(store_dir)
    if not folders:
        raise StoreError(f"no variants in {store_dir}; `effserve build` or `effserve pull` puts some there")
    with ThreadPoolExecutor(threads) as pool:
        checked = list(pool.map(check, folders))
    intact = [entry for entry in checked if isinstance(entry, StoredVariant)]
    newest = {entry.manifest.name: entry for entry in sorted(intact, key=lambda e: e.manifest.version)}
    refused = tuple(entry for entry in checked if isinstance(entry, RefusedVariant))
    return StoreScan(tuple(newest[name] for name in sorted(newest)), refused)


def _folders(store_dir: Path) -> list[Path]:
    return sorted(_version_folders(store_dir)) if store_dir.is_dir() else []


def _version_folders(store_dir: Path) -> Iterable[Path]:
    """`<name>/<version>`; hidden and half-written folders are not versions."""
    for variant in store_dir.iterdir():
        # A volume's own folders, such as lost+found, are nobody's variants.
        if variant.is_dir() and not variant.name.startswith(".") and os.access(variant, os.R_OK | os.X_OK):
            # It may be removed at this moment.
            with suppress(FileNotFoundError):
                yield from (v for v in variant.iterdir() if v.is_dir() and not v.name.startswith("."))


def _check(folder: Path) -> StoredVariant | RefusedVariant:
    try:
        return _intact(folder)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        reason = f"manifest.json is not valid: {where}: {first['msg']}"
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
    return RefusedVariant(folder.parent.name, folder.name, reason)


def _intact(folder: Path) -> StoredVariant:
    manifest = manifests.read(folder)
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise ValueError(f"the manifest is for {manifest.name} version {manifest.version}")
    _match(folder / manifests.GRAPH_FILE, manifest.graph_sha256)
    _match(folder / manifests.LABELS_FILE, manifest.labels.sha256)
    labels = read_labels(folder / manifests.LABELS_FILE)
    if len(labels) != manifest.labels.classes:
        raise ValueError(
            f"{manifests.LABELS_FILE} has {len(labels)} classes, the manifest says {manifest.labels.classes}"
        )
    return StoredVariant(manifest, folder, labels)


def _match(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise ValueError(f"{path.name} is missing")
    if manifests.sha256_of(path) != sha256:
        raise ValueError(f"{path.name} is damaged or was changed: its checksum is not the manifest's")


def read_labels(path: Path) -> tuple[Label, ...]:
    """Classes in output order from `index <tab> WordNet id <tab> words` lines. Raises `ValueError`, `OSError`."""
    labels = []
    # Not `splitlines`: it would also end a line at U+2028 and the like, which words may hold.
    for number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n")):
        parts = line.split("\t")
        if len(parts) != 3 or parts[0] != str(number):
            raise ValueError(f"{path.name} line {number + 1} is not `{number} <tab> WordNet id <tab> words`")
        labels.append(Label(parts[1], parts[2]))
    return tuple(labels)
