"""Trying layouts of lanes and threads: what the cheapest variant takes on them, for the rule of `core.layout`.

Measured on a session of its own, which is dropped again, and kept like a calibration, so that a warm start measures
nothing. It is no part of the calibration: there all variants are measured in turns, so that whatever else the machine
does strikes all of them alike.

A run on one thread is timed by the processor time of that thread: a start beside other work would find it too slow, and
a choice made once is kept. Runs on several threads have no such clock, and nobody asks for them before one thread was
too slow.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from service.core.catalogue import Catalogue
from service.core.latency import Calibration
from service.core.layout import Choice, Layout, Timed, choose, layouts
from service.core.values import ImageHeader
from service.pipeline import image
from service.pipeline.calibration import CalibrationFile, Calibrator, DecodeSample, Subject
from service.pipeline.graphs import open_session
from service.pipeline.session import SessionError, SessionOptions, runtime_fingerprint
from service.pipeline.store import StoredVariant

SHARE = 0.2
"""Of the time that calibration spends on a variant: processor times differ little."""
SAMPLES_PX = ((320, 240), (1024, 768))
"""JPEGs that are decoded: that time is taken to be a line through them."""


def choice(
    entries: Sequence[StoredVariant],
    cores: int,
    *,
    budget_s: float,
    route_untrained: bool,
    picture: ImageHeader,
    folder: Path | None,
    seconds: float,
    exact: bool = False,
    graphs: Path | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> Choice:
    """The layout for so many cores and the cheapest of the variants that a budget may choose.

    `picture`, a JPEG, is what has to be decoded, `exact`ly or not; `seconds` are what calibration spends on a variant.
    """
    variants = {entry.variant(): entry for entry in entries}
    routed = [variants[variant] for variant in Catalogue(tuple(variants), route_untrained).routed()]
    possible = layouts(cores)
    if len(possible) == 1 or not routed:
        return Choice(possible[0], "one usable core" if cores == 1 else "no variant to measure")
    cheapest = min(routed, key=lambda entry: entry.manifest.macs)
    name = cheapest.manifest.name

    def timed() -> Iterator[Timed]:
        for layout in possible:
            options = SessionOptions(threads=layout.threads, graphs=graphs)
            known = _known(cheapest, layout, options, folder, seconds, exact, announce)
            decode_s = known.decode[picture.format].expected_s(picture.megapixels)
            yield Timed(layout, known.inference_s[name] + decode_s)

    try:
        return choose(timed(), name, budget_s)
    except SessionError:
        # Opening it for service will fail, too, and then be told.
        return Choice(possible[0], f"{name} cannot be run")


def _known(
    entry: StoredVariant,
    layout: Layout,
    options: SessionOptions,
    folder: Path | None,
    seconds: float,
    exact: bool,
    announce: Callable[[str], None],
) -> Calibration:
    """Of this variant alone; what it says of the time to stop means nothing. Raises `SessionError`."""
    name = entry.manifest.name
    fingerprint = f"{runtime_fingerprint(options, layout.lanes)} | {name} alone"
    file = None if folder is None else CalibrationFile(folder, fingerprint, exact=exact)
    known = None if file is None else file.calibration({name: entry.manifest.graph_sha256}, layout.lanes)
    if known is not None:
        return known
    announce(f"measuring {name} on {layout}")
    clock = time.thread_time if options.on_caller else time.perf_counter
    calibrator = Calibrator(lanes=layout.lanes, file=file, seconds_per_variant=seconds * SHARE, clock=clock)
    return _measured(entry, options, calibrator, exact=exact)


def _measured(entry: StoredVariant, options: SessionOptions, calibrator: Calibrator, *, exact: bool) -> Calibration:
    manifest, prepared = entry.manifest, entry.manifest.preprocessing
    session = open_session(entry, options)
    session.warm_up()
    bodies = [image.encode_sample("JPEG", *size) for size in SAMPLES_PX]
    samples = [DecodeSample(image.read_header(body, max_pixels=1_000_000), body) for body in bodies]
    subject = Subject(manifest.name, manifest.graph_sha256, prepared.input_size_px, session)
    return calibrator.calibrate([subject], samples, lambda body: image.decode(body, prepared, exact=exact))
