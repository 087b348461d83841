"""What is to be evaluated: which variants, on which images, and what is left out and why.

A variant is judged on the images whose folder names one of its classes. What no variant has a class for is not run.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_store.images import ImageSet, Sample
from service.core.messages import RefusedVariant
from service.evaluation.classes import known
from service.pipeline.executor import Runner
from service.pipeline.graphs import open_session
from service.pipeline.session import SessionError, SessionOptions
from service.pipeline.store import StoredVariant, StoreScan, scan

NAMES_SHOWN = 5
"""How many of a list of names a message gives."""


class EvaluationError(Exception):
    """Nothing can be evaluated; one line says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One variant to judge: warm, and with the classes it shares with the images."""

    entry: StoredVariant
    runner: Runner
    known: Mapping[int, int]
    """Index in `ImageSet.classes` → index of the variant's class."""

    @property
    def name(self) -> str:
        """The variant's."""
        return self.entry.manifest.name


@dataclass(frozen=True, slots=True)
class Plan:
    """Variants and images that go together."""

    images: ImageSet
    samples: tuple[Sample, ...]
    """To be run, in order of name."""
    matched: int
    """How many images there were before the limit."""
    subjects: tuple[Subject, ...]
    entries: tuple[StoredVariant, ...]
    """Everything intact in the store, asked for or not."""
    refused: tuple[RefusedVariant, ...]
    """Versions that are damaged or do not open, and variants that have none of the classes."""


def make_plan(
    images: ImageSet,
    store: Path,
    *,
    names: Sequence[str],
    limit: int | None,
    options: SessionOptions,
    announce: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Find and open what is asked for; `names` empty asks for all. Raises `EvaluationError`, `StoreError`."""
    found = scan(store)
    entries = _chosen(found, names, store)
    matches = {entry.manifest.name: known(images.classes, entry.labels) for entry in entries}
    subjects, refused = [], list(_refused(found, names))
    for entry in entries:
        announce(entry.manifest.name)
        try:
            subjects.append(_open(entry, matches[entry.manifest.name], options))
        except _Unfit as unfit:
            refused.append(RefusedVariant(entry.manifest.name, str(entry.manifest.version), str(unfit)))
    if not subjects:
        raise EvaluationError(_nothing(images, matches, refused))
    samples = [sample for sample in images.samples if any(sample.label in subject.known for subject in subjects)]
    chosen = samples if limit is None else evenly(samples, limit)
    return Plan(images, tuple(chosen), len(samples), tuple(subjects), found.entries, tuple(refused))


def evenly(samples: Sequence[Sample], limit: int, seed: int = 0) -> list[Sample]:
    """At most `limit` samples, of each class as many as of any other while it has them, the same for the same seed."""
    seen: Counter[int] = Counter()
    ranked: list[tuple[int, int, int]] = []
    for position in np.random.default_rng(seed).permutation(len(samples)).tolist():
        label = samples[position].label
        ranked.append((seen[label], len(ranked), position))
        seen[label] += 1
    return [samples[position] for position in sorted(position for _, _, position in sorted(ranked)[:limit])]


def shortened(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


class _Unfit(Exception):
    """A variant that cannot be evaluated, and why."""


def _chosen(found: StoreScan, names: Sequence[str], store: Path) -> list[StoredVariant]:
    """Raises `EvaluationError` for a name that no intact version has."""
    by_name = {entry.manifest.name: entry for entry in found.entries}
    damaged = {refused.name: refused for refused in found.refused}
    for name in names:
        if name not in by_name and name in damaged:
            raise EvaluationError(f"{name} version {damaged[name].version} is not served: {damaged[name].reason}")
        if name not in by_name:
            raise EvaluationError(f"no variant {name!r} in {store}; there are {', '.join(sorted(by_name)) or 'none'}")
    return [by_name[name] for name in dict.fromkeys(names)] if names else list(found.entries)


def _refused(found: StoreScan, names: Sequence[str]) -> list[RefusedVariant]:
    return [refused for refused in found.refused if not names or refused.name in names]


def _open(entry: StoredVariant, classes: Mapping[int, int], options: SessionOptions) -> Subject:
    """One thread a run, as the service has it unless told otherwise."""
    if not classes:
        raise _Unfit("it has none of the classes of these images")
    try:
        session = open_session(entry, options)
        session.warm_up()
    except SessionError as error:
        raise _Unfit(str(error)) from error
    return Subject(entry, Runner(session, entry.manifest.preprocessing), classes)


def _nothing(images: ImageSet, matches: Mapping[str, Mapping[int, int]], refused: Sequence[RefusedVariant]) -> str:
    if matches and not any(matches.values()):
        folders = shortened(images.classes)
        return f"no folder of {images.path} is a WordNet id or label of a variant in the store; there are {folders}"
    return f"nothing can be evaluated: {refused[0].name} version {refused[0].version}: {refused[0].reason}"
