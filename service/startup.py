"""From a store folder to warm, measured sessions: everything that happens before the first request.

One variant that fails does not keep the others from being served: it is refused by name. Only when nothing is left
that a budget could choose does the start fail, with the reason.
"""

import os
import resource
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from service.core.events import Observer, VariantRefused
from service.core.latency import Calibration
from service.core.messages import RefusedVariant
from service.core.values import Variant
from service.pipeline import image
from service.pipeline.calibration import PASSES, CalibrationFile, Calibrator, DecodeSample, Subject
from service.pipeline.executor import Runner
from service.pipeline.graphs import open_session, prune
from service.pipeline.opening import loaded_event
from service.pipeline.session import (
    ExecutionProvider,
    SessionError,
    SessionOptions,
    check_provider,
    runtime_fingerprint,
)
from service.pipeline.store import StoredVariant, StoreError, StoreReader, StoreScan, scan

SOURCES = (*image.FORMATS, image.PIXELS)
"""Whatever an image can come as: its decoding is measured."""
DECODE_SAMPLES_PX = ((320, 240), (1024, 768))
"""Two sizes a format: decode time is taken to be a line through them."""
LARGE_JPEG_PX = (4000, 3000)
"""A phone's: JPEGs much larger than the input are decoded at a reduced scale, for a smaller price by the pixel."""
MAX_PIXELS = 20_000_000

Announce = Callable[[str], None]
"""Told what begins, for a progress bar."""


class StartupError(Exception):
    """The service cannot start; one line says why and what to do."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is resident."""

    entries: dict[str, StoredVariant]
    runners: dict[Variant, Runner]
    refused: tuple[RefusedVariant, ...]


def check(store_dir: Path, provider: ExecutionProvider) -> StoreScan:
    """What the store holds, and whether it can be run here at all. Raises `StartupError`."""
    try:
        check_provider(provider)
        return scan(store_dir)
    except (SessionError, StoreError) as error:
        raise StartupError(str(error)) from error


def named(
    store_dir: Path, versions: Iterable[tuple[str, int]], refused: Iterable[RefusedVariant] = ()
) -> StoreScan:  # fmt: skip
    """These versions of a store, checked like any other; what is not there any more is refused, beside `refused`."""
    reader = StoreReader(store_dir)
    found = [
        reader.find(name, version) or RefusedVariant(name, str(version), "it is gone from the store")
        for name, version in versions
    ]
    intact = tuple(entry for entry in found if isinstance(entry, StoredVariant))
    return StoreScan(intact, (*refused, *(entry for entry in found if isinstance(entry, RefusedVariant))))


def load(found: StoreScan, options: SessionOptions, lanes: int, observer: Observer, announce: Announce) -> Loaded:
    """Open a warm session for each intact variant. Raises `StartupError`.

    As many at a time as there are lanes, the largest first: what takes longest does not come last, beside idle lanes.
    """
    with ThreadPoolExecutor(lanes) as pool:
        ordered = sorted(found.entries, key=lambda e: e.manifest.macs, reverse=True)
        opening = [(entry, pool.submit(_opened, entry, options)) for entry in ordered]
        outcomes = [_outcome(entry, opened, announce) for entry, opened in opening]
    if options.graphs is not None:
        prune(options.graphs)
    resident = {one.entry.manifest.name: one for one in reversed(outcomes) if isinstance(one, _Opened)}
    refused = found.refused + tuple(one for one in reversed(outcomes) if isinstance(one, RefusedVariant))
    for variant in refused:
        observer.observe(VariantRefused(variant.name, variant.version, variant.reason))
    for one in resident.values():
        observer.observe(loaded_event(one.entry, one.runner.session, one.load_s))
    if not resident:
        raise StartupError(f"nothing in the store can be served: {refused[0].name}: {refused[0].reason}")
    entries = {name: one.entry for name, one in resident.items()}
    return Loaded(entries, {one.entry.variant(): one.runner for one in resident.values()}, refused)


def check_port(host: str, port: int, variable: str) -> None:
    """Raise `StartupError` when the port is taken: known now, not after the sessions are loaded. `variable` is where
    another one can be given."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        detail = f"cannot listen on {host} port {port}: {error.strerror}; {variable} can name another port"
        raise StartupError(detail) from error


def allow_many_files() -> int:
    """Raise the soft limit of open files to the hard one, and return it; processes that are started later inherit it.

    Each connection is one. The soft limit is low for the sake of programs that use `select`, which nothing here does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        # Some systems have a hard limit that nobody may reach.
        return soft
    return hard


def steps(store_dir: Path) -> int:
    """How many times something is announced at a first start with one layout of lanes to try; later ones end before."""
    variants = sum(1 for folder in store_dir.iterdir() if folder.is_dir()) if store_dir.is_dir() else 0
    return (1 + PASSES) * variants + 3


def measure(
    loaded: Loaded, *, options: SessionOptions, lanes: int, folder: Path | None, seconds_per_variant: float,
    exact: bool, announce: Announce,
) -> Calibration:  # fmt: skip
    """Find out what decode and inference cost here, unless earlier starts did."""
    file = None if folder is None else CalibrationFile(folder, runtime_fingerprint(options, lanes), exact=exact)
    calibrator = Calibrator(
        lanes=lanes,
        file=file,
        seconds_per_variant=seconds_per_variant,
        progress=announce,
        own_clock=time.thread_time if options.on_caller else None,
    )
    smallest = next(iter(loaded.runners.values())).preprocessing
    known = file is not None and set(SOURCES) <= file.decode().keys()
    samples = [] if known else _decode_samples()
    return calibrator.calibrate(_subjects(loaded), samples, lambda body: image.decode(body, smallest, exact=exact))


def measured_before(
    store_dir: Path, *, options: SessionOptions, lanes: int, folder: Path, exact: bool = False
) -> tuple[tuple[Variant, ...], Calibration] | None:
    """The variants of a store and what earlier starts found that they cost, without opening them.

    None when something has to be measured. Raises `StartupError`.
    """
    entries = check(store_dir, options.provider).entries
    graphs = {entry.manifest.name: entry.manifest.graph_sha256 for entry in entries}
    file = CalibrationFile(folder, runtime_fingerprint(options, lanes), exact=exact)
    calibration = file.calibration(graphs, lanes)
    return None if calibration is None else (tuple(entry.variant() for entry in entries), calibration)


def writable(folder: Path) -> Path | None:
    """`folder` when files can be kept there, else None: a read-only file system costs a slower start, no more."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


@dataclass(frozen=True, slots=True)
class _Opened:
    """A variant that is ready to be served."""

    entry: StoredVariant
    runner: Runner
    load_s: float
    """To open its session, without the first run."""
    said: tuple[str, ...]
    """What there is to tell of that."""


def _opened(entry: StoredVariant, options: SessionOptions) -> _Opened:
    """Raises `SessionError`."""
    started_s, said = time.perf_counter(), list[str]()
    session = open_session(entry, options, said.append)
    load_s = time.perf_counter() - started_s
    session.warm_up()
    return _Opened(entry, Runner(session, entry.manifest.preprocessing), load_s, tuple(said))


def _outcome(entry: StoredVariant, opened: Future[_Opened], announce: Announce) -> _Opened | RefusedVariant:
    """Waits for it. Raises `StartupError` for what nobody foresaw."""
    name = entry.manifest.name
    announce(f"loading {name}")
    try:
        found = opened.result()
    except SessionError as error:
        return RefusedVariant(name, str(entry.manifest.version), str(error))
    except Exception as error:
        raise StartupError(f"{name} cannot be loaded") from error
    for line in found.said:
        announce(line)
    return found


def _subjects(loaded: Loaded) -> Sequence[Subject]:
    return [
        Subject(
            name,
            entry.manifest.graph_sha256,
            entry.manifest.preprocessing.input_size_px,
            loaded.runners[entry.variant()].session,
        )
        for name, entry in loaded.entries.items()
    ]


def _decode_samples() -> list[DecodeSample]:
    wanted = [(image_format, *size_px) for image_format in SOURCES for size_px in DECODE_SAMPLES_PX]
    bodies = (image.sample(*one) for one in (*wanted, ("JPEG", *LARGE_JPEG_PX)))
    return [DecodeSample(image.read_header(body, max_pixels=MAX_PIXELS), body) for body in bodies]
