"""Graphs as ONNX Runtime optimises them for this machine, kept from one start to the next.

Optimising is most of the time that a session takes to open, and comes out the same each time. So the first session of a
graph has the runtime write what it made of it, with the weights in a file beside it. What opens that file has little to
do, and maps the weights instead of copying them: they are in memory once, however many processes serve them. The gates
are put into the blocked layout on the way (`gates.py`), which saves changes of layout.

A kept graph is good for one CPU, one version of the runtime and one graph; all three are in the name of its folder,
which is written beside its place and renamed in one step. It is kept only if it gives the same logits as the graph
itself, bit for bit, and each time it is used its files are checked. A damaged one is made anew. Where none can be kept,
on a full disk say, the graph is opened as it is: slower, and with the same answers.
[ADR 16](../../docs/decisions/0016-optimised-graphs.md)
"""

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from pydantic import TypeAdapter

from model_store.manifest import sha256_of
from service.core.errors import EffserveError
from service.pipeline.gates import gated
from service.pipeline.session import (
    ExecutionProvider,
    Optimised,
    Session,
    SessionError,
    SessionOptions,
    machine_fingerprint,
)
from service.pipeline.store import StoredVariant

GRAPH, WEIGHTS, RECORD = "model.onnx", "weights.bin", "record.json"
OURS = re.compile(r"[0-9a-f]{32}|\.[0-9a-f]{32}-[0-9a-f]{8}")
"""Folders of kept graphs, and of those that are being made; others in the same place are somebody else's."""
FORM = 2
"""Raised when the same graph is written in another way: what was kept before is then not found."""
UNUSED_S = 30 * 86_400.0
"""What was not opened for so long is removed: its graph was replaced, or its runtime."""
ABANDONED_S = 86_400.0
"""Nobody writes for so long: whoever began has died."""

Tell = Callable[[str], None]
"""Told why a graph could not be kept."""
Opening = Callable[..., Session]
"""A session of a file, with what the manifest says that it is; takes `optimised`."""


class _NotKeptError(Exception):
    """Why the graph itself has to be opened."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What lies beside a kept graph."""

    schema: Literal[1]
    key: str
    files: dict[str, str]
    """SHA-256 by name."""


_RECORD = TypeAdapter(_Record)


def open_session(entry: StoredVariant, options: SessionOptions, tell: Tell = lambda _: None) -> Session:
    """A session of a variant, of its kept graph where there is one or one can be made. Raises `SessionError`."""
    manifest = entry.manifest
    opening = partial(
        Session, input_size_px=manifest.preprocessing.input_size_px, classes=manifest.labels.classes, options=options
    )
    if options.graphs is None or options.provider is not ExecutionProvider.CPU:
        return opening(entry.graph)
    kept = _Kept(options.graphs, manifest.graph_sha256)
    try:
        if not kept.intact():
            _make(entry, opening, kept)
        return opening(kept.folder / GRAPH, optimised=Optimised())
    except (_NotKeptError, OSError, SessionError, DecodeError) as error:
        # Whatever is wrong with the graph itself shows once more, and is raised, when that is opened.
        session = opening(entry.graph)
        tell(f"the optimised graph of {manifest.name} is not kept: {' '.join(str(error).split())}")
        return session


def prune(folder: Path, now_s: float | None = None) -> None:
    """Remove what nobody has opened for long. `now_s` is in seconds since the epoch. What cannot be removed stays."""
    now_s = time.time() if now_s is None else now_s
    found: list[Path] = []
    with suppress(OSError):
        found = [one for one in folder.iterdir() if OURS.fullmatch(one.name)]
    for one in found:
        with suppress(OSError):
            hidden = one.name.startswith(".")
            used, limit_s = (one, ABANDONED_S) if hidden else (one / RECORD, UNUSED_S)
            if now_s - used.stat().st_mtime > limit_s:
                shutil.rmtree(one, ignore_errors=True)


class _Kept:
    """The place of one kept graph."""

    def __init__(self, folder: Path, graph_sha256: str) -> None:
        self._key = f"{machine_fingerprint()} | form {FORM} | {graph_sha256}"
        self.folder = folder / hashlib.sha256(self._key.encode()).hexdigest()[:32]

    def intact(self) -> bool:
        """Whether it is there, whole, and the one that is wanted."""
        try:
            record = _RECORD.validate_json((self.folder / RECORD).read_bytes())
            found = {name: sha256_of(self.folder / name) for name in (GRAPH, WEIGHTS)}
        except (OSError, ValueError):
            return False
        with suppress(OSError):
            # Others may have written it, and it may be read only; then who writes it knows what is used.
            os.utime(self.folder / RECORD)
        return (record.key, record.files) == (self._key, found)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A hidden folder beside it, gone afterwards whatever happens."""
        folder = self.folder.with_name(f".{self.folder.name}-{secrets.token_hex(4)}")
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, draft: Path) -> None:
        """The draft in its place, instead of a damaged one. Two may do so at the same time; either will do."""
        record = _Record(1, self._key, {name: sha256_of(draft / name) for name in (GRAPH, WEIGHTS)})
        (draft / RECORD).write_bytes(_RECORD.dump_json(record))
        with suppress(OSError):
            self.folder.rename(draft / "replaced")
        with suppress(OSError):
            draft.rename(self.folder)
        shutil.rmtree(self.folder / "replaced", ignore_errors=True)
        if not self.intact():
            raise _NotKeptError("it was damaged while it was written")


def _make(entry: StoredVariant, opening: Opening, kept: _Kept) -> None:
    """Raises `_NotKeptError`, `SessionError`, `OSError`."""
    with kept.draft() as draft:
        logits = _logits(opening(entry.graph, optimised=Optimised(draft / GRAPH, WEIGHTS)), entry)
        content = (draft / GRAPH).read_bytes()
        for form in (gated(content), content):
            if form is not None and _alike(draft, form, opening, logits, entry):
                kept.publish(draft)
                return
    raise _NotKeptError("it gives other logits")


def _alike(draft: Path, form: bytes, opening: Opening, logits: npt.NDArray[np.float32], entry: StoredVariant) -> bool:
    """Whether this form of the graph, which is in the draft then, gives these logits."""
    (draft / GRAPH).write_bytes(form)
    try:
        return np.array_equal(_logits(opening(draft / GRAPH, optimised=Optimised()), entry), logits)
    except (SessionError, _NotKeptError):
        return False


def _logits(session: Session, entry: StoredVariant) -> npt.NDArray[np.float32]:
    """Of an image in which everything differs."""
    size_px = entry.manifest.preprocessing.input_size_px
    try:
        return session.run(np.random.default_rng(0).integers(0, 256, (1, size_px, size_px, 3), np.uint8))
    except EffserveError as error:
        raise _NotKeptError(f"it does not run: {error.__cause__}") from error
