"""How long it takes: each photo in every way before the next photo, several rounds, the least of each counts."""

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image
from PIL.Image import Resampling

from benchmarks.decode.study import CROP_PCT, SIZE_PX, Apart, Timing
from model_store.manifest import Preprocessing
from service.pipeline import cropping, image, resizing

INPUT = Preprocessing(input_size_px=SIZE_PX, crop_pct=CROP_PCT, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
MOST_PIXELS = 50_000_000

Way = Callable[[bytes], object]


def ways() -> dict[str, Way]:
    """Everything from bytes to pixels."""
    return {
        "quick": lambda body: image.decode(body, INPUT),
        "exact": lambda body: image.decode(body, INPUT, exact=True),
        "Pillow, the usual lines": _usual_lines,
        "the header check, before": lambda body: image.read_header(body, max_pixels=MOST_PIXELS),
    }


def _usual_lines(body: bytes) -> object:
    """What a program without a thought for speed does: decode, resize, crop, normalise."""
    with Image.open(io.BytesIO(body)) as opened:
        source = opened.convert("RGB")
    width, height = cropping.resized_px(*source.size, INPUT)
    left, top = (width - SIZE_PX) // 2, (height - SIZE_PX) // 2
    cut = source.resize((width, height), Resampling.BICUBIC).crop((left, top, left + SIZE_PX, top + SIZE_PX))
    samples = np.asarray(cut, np.float32) / 255
    return ((samples - np.asarray(INPUT.mean, np.float32)) / np.asarray(INPUT.std, np.float32)).transpose(2, 0, 1)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A photo after decoding, for the parts that follow."""

    picture: Image.Image
    samples: bytes
    box: cropping.Crop
    region: cropping.Region

    @classmethod
    def of(cls, body: bytes) -> "_Decoded":
        with Image.open(io.BytesIO(body)) as opened:
            picture = opened.convert("RGB")
        box = cropping.crop_box(*picture.size, INPUT)
        region = cropping.region(box, SIZE_PX, *picture.size)
        cut = picture.crop((region.left, region.top, region.right, region.bottom))
        return cls(picture, cut.tobytes(), box.within(region), region)


def parts(photos: Sequence[bytes]) -> dict[str, Way]:
    """Single steps of the two ways, for JPEGs, at full scale."""
    decoded = {body: _Decoded.of(body) for body in photos}

    def whole(body: bytes) -> object:
        picture = decoded[body].picture
        return picture.resize(cropping.resized_px(*picture.size, INPUT), Resampling.BICUBIC)

    def crop(body: bytes) -> object:
        one = decoded[body]
        return resizing.resize(one.samples, one.region.width, one.region.height, one.box, INPUT)

    found: dict[str, Way] = {
        "part: opening (Pillow)": lambda body: Image.open(io.BytesIO(body)),
        "part: decoding, libjpeg-turbo": simplejpeg.decode_jpeg,
        "part: decoding, Pillow": lambda body: Image.open(io.BytesIO(body)).load(),
        "part: resizing everything, Pillow": whole,
    }
    return found | ({"part: resizing the crop, vector instructions": crop} if resizing.AVAILABLE else {})


def times(carrier: str, photos: Sequence[bytes], compared: Mapping[str, Way], rounds: int) -> list[Timing]:
    """In turns."""
    taken = {what: np.full((rounds, len(photos), 2), math.inf) for what in compared}
    for number in range(rounds):
        for position, body in enumerate(photos):
            for what, way in compared.items():
                taken[what][number, position] = _once(way, body)
    return [_timing(carrier, what, clocked * 1e3) for what, clocked in taken.items()]


def _once(way: Way, body: bytes) -> tuple[float, float]:
    """Processor time of this thread, and time that passed."""
    cpu_s, wall_s = time.thread_time(), time.perf_counter()
    way(body)
    return time.thread_time() - cpu_s, time.perf_counter() - wall_s


def _timing(carrier: str, what: str, taken_ms: np.ndarray) -> Timing:
    """[rounds, photos, processor and wall]"""
    least, rounds = taken_ms.min(axis=0), taken_ms[..., 0].mean(axis=1)
    cpu, wall = least[:, 0], least[:, 1]
    mean, median, most, by_clock = (
        round(float(one), 4) for one in (cpu.mean(), np.median(cpu), cpu.max(), wall.mean())
    )
    return Timing(carrier, what, mean, median, most, by_clock, _range(rounds))


def _range(values: np.ndarray) -> tuple[float, float]:
    return round(float(values.min()), 4), round(float(values.max()), 4)


def apart(images: str, bodies: Sequence[bytes]) -> Apart:
    """Quick and exact pixels beside each other."""
    found = np.stack(
        [
            np.abs(image.decode(one, INPUT).astype(np.int16) - image.decode(one, INPUT, exact=True).astype(np.int16))
            for one in bodies
        ]
    )
    return Apart(images, len(bodies), float(found.mean()), float((found > 0).mean()), int(found.max()))
