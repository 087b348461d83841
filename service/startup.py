"""From a store folder to warm, measured sessions: everything that happens before the first request.

One variant that fails does not keep the others from being served: it is refused by name. Only when nothing is left
that a budget could choose does the start fail, with the reason.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.core.events import Observer, VariantLoaded, VariantRefused
from service.core.latency import Calibration
from service.core.messages import RefusedVariant
from service.pipeline import image
from service.pipeline.calibration import CalibrationFile, Calibrator, DecodeSample, Subject
from service.pipeline.executor import Runner
from service.pipeline.session import Session, SessionError, SessionOptions, check_provider, runtime_fingerprint
from service.pipeline.store import StoredVariant, StoreError, scan

DECODE_SAMPLES_PX = ((320, 240), (1024, 768))
"""Two sizes a format: decode time is taken to be a line through them."""
MAX_PIXELS = 10_000_000

Announce = Callable[[str], None]
"""Told what begins, for a progress bar."""


class StartupError(Exception):
    """The service cannot start; one line says why and what to do."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is resident."""

    entries: dict[str, StoredVariant]
    runners: dict[str, Runner]
    refused: tuple[RefusedVariant, ...]


def load(store_dir: Path, options: SessionOptions, observer: Observer, announce: Announce) -> Loaded:
    """Check the store and open a session for each intact variant, smallest first. Raises `StartupError`."""
    announce("checking the store")
    try:
        check_provider(options.provider)
        found = scan(store_dir)
    except (SessionError, StoreError) as error:
        raise StartupError(str(error)) from error
    refused = list(found.refused)
    entries, runners = {}, {}
    for entry in sorted(found.entries, key=lambda e: e.manifest.macs):
        announce(f"loading {entry.manifest.name}")
        opened = _open(entry, options, observer)
        if isinstance(opened, Runner):
            entries[entry.manifest.name], runners[entry.manifest.name] = entry, opened
        else:
            refused.append(opened)
    for one in refused:
        observer.observe(VariantRefused(one.name, one.version, one.reason))
    if not entries:
        raise StartupError(f"nothing in {store_dir} can be served: {refused[0].name}: {refused[0].reason}")
    return Loaded(entries, runners, tuple(refused))


def check_port(host: str, port: int) -> None:
    """Raise `StartupError` when the port is taken: known now, not after the sessions are loaded."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise StartupError(f"cannot listen on {host} port {port}: {error.strerror}") from error


def steps(store_dir: Path) -> int:
    """About how many times `load` and `measure` announce something."""
    variants = sum(1 for folder in store_dir.iterdir() if folder.is_dir()) if store_dir.is_dir() else 0
    return 2 * variants + 1


def measure(
    loaded: Loaded, *, options: SessionOptions, lanes: int, folder: Path | None, seconds_per_variant: float,
    announce: Announce,
) -> Calibration:  # fmt: skip
    """Warm every session on every lane and find out what decode and inference cost here."""
    file = None if folder is None else CalibrationFile(folder, runtime_fingerprint(options, lanes))
    calibrator = Calibrator(lanes=lanes, file=file, seconds_per_variant=seconds_per_variant, progress=announce)
    smallest = next(iter(loaded.runners.values())).preprocessing
    samples = [] if file is not None and file.decode() else _decode_samples()
    return calibrator.calibrate(_subjects(loaded), samples, lambda body: image.decode(body, smallest))


def writable(folder: Path | None) -> Path | None:
    """`folder` when files can be kept there, else None: a read-only file system costs a slower start, no more."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _open(entry: StoredVariant, options: SessionOptions, observer: Observer) -> Runner | RefusedVariant:
    manifest, preprocessing = entry.manifest, entry.manifest.preprocessing
    started_s = time.perf_counter()
    try:
        session = Session(
            entry.graph,
            input_size_px=preprocessing.input_size_px,
            classes=manifest.labels.classes,
            options=options,
        )
    except SessionError as error:
        return RefusedVariant(manifest.name, str(manifest.version), str(error))
    variant = entry.variant()
    observer.observe(
        VariantLoaded(
            name=variant.name,
            version=variant.version,
            load_s=time.perf_counter() - started_s,
            macs=manifest.macs,
            params=manifest.params,
            rank_top1=variant.rank_top1,
            trained=variant.trained,
        )
    )
    return Runner(session, preprocessing)


def _subjects(loaded: Loaded) -> Sequence[Subject]:
    return [
        Subject(
            name, entry.manifest.graph_sha256, entry.manifest.preprocessing.input_size_px, loaded.runners[name].session
        )
        for name, entry in loaded.entries.items()
    ]


def _decode_samples() -> list[DecodeSample]:
    bodies = (
        image.encode_sample(image_format, width_px, height_px)
        for image_format in image.FORMATS
        for width_px, height_px in DECODE_SAMPLES_PX
    )
    return [DecodeSample(image.read_header(body, max_pixels=MAX_PIXELS), body) for body in bodies]
