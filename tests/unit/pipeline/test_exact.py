"""The setting `images.exact`: pixels are those of timm's transform by Pillow, bit for bit."""

import io
import math

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.Image import Resampling

from model_store.manifest import Preprocessing
from service.core.values import Pixels
from service.pipeline import image
from service.pipeline.image import decode
from tests.fixtures import encode, jpeg, photo, pixels_of, preprocessing

SHAPES = [(640, 480), (480, 640), (333, 500), (1203, 901), (97, 411), (60, 50), (17, 13), (224, 224), (2, 3)]
PREPARATIONS = [(32, 0.875), (224, 0.875), (240, 0.882), (64, 1.0)]


def timm(body: bytes, wanted: Preprocessing) -> npt.NDArray[np.uint8]:
    """timm's `Resize` and `CenterCrop`, with torchvision's formulas, on Pillow's `convert("RGB")`."""
    with Image.open(io.BytesIO(body)) as opened:
        picture = opened.convert("RGB")
    size, kernel = wanted.input_size_px, Resampling[wanted.interpolation.upper()]
    if wanted.crop_mode == "squash":
        return pixels_of(picture.resize((size, size), kernel))
    target, (width, height) = math.floor(size / wanted.crop_pct), picture.size
    if width <= height:
        resized = picture.resize((target, int(target * height / width)), kernel)
    else:
        resized = picture.resize((int(target * width / height), target), kernel)
    top, left = round((resized.height - size) / 2.0), round((resized.width - size) / 2.0)
    return pixels_of(resized.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize(("size", "crop_pct"), PREPARATIONS)
@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_a_jpeg_gives_timms_pixels(width: int, height: int, size: int, crop_pct: float) -> None:
    """Also where the quick way would decode at a reduced scale, and where the image is smaller than the input."""
    body, wanted = jpeg(width, height), preprocessing(size, crop_pct)
    assert np.array_equal(decode(body, wanted, exact=True), timm(body, wanted))


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"progressive": True}, {"quality": 30}, {"subsampling": 1}])
def test_however_the_jpeg_is_written(options: dict[str, object]) -> None:
    """Chroma in full or halved, progressive, coarse."""
    body, wanted = encode(photo(500, 375), "JPEG", **options), preprocessing(224)
    assert np.array_equal(decode(body, wanted, exact=True), timm(body, wanted))


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "BMP"])
def test_other_formats_give_timms_pixels(image_format: str) -> None:
    """A GIF's palette is resolved first, as timm does."""
    body, wanted = encode(photo(300, 200), image_format), preprocessing(64)
    assert np.array_equal(decode(body, wanted, exact=True), timm(body, wanted))


@pytest.mark.parametrize("wanted", [preprocessing(64, interpolation="bilinear"), preprocessing(64, crop_mode="squash")])
def test_other_transforms_are_timms_too(wanted: Preprocessing) -> None:
    """Bilinear, and without a crop."""
    body = jpeg(333, 240)
    assert np.array_equal(decode(body, wanted, exact=True), timm(body, wanted))


def test_sharp_noise_gives_timms_pixels() -> None:
    """Bicubic overshoots there, and what is clipped between the passes depends on their order."""
    noise = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (411, 97, 3))
    body, wanted = encode(Image.fromarray(noise), "PNG"), preprocessing(64)
    assert np.array_equal(decode(body, wanted, exact=True), timm(body, wanted))


def test_pixels_that_come_decoded_are_resized_exactly() -> None:
    """As a PNG of them would be."""
    picture, wanted = photo(300, 200), preprocessing(64)
    given = Pixels(pixels_of(picture).tobytes(), *picture.size)
    assert np.array_equal(decode(given, wanted, exact=True), timm(encode(picture, "PNG"), wanted))


def test_an_image_that_would_be_blown_up_is_cropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm would make 720,000 x 36 of 20,000 x 1; beyond the limit only the crop is resized, to the same but for
    rounding."""
    wanted, body = preprocessing(32), encode(photo(600, 40), "PNG")
    whole = decode(body, wanted, exact=True)
    monkeypatch.setattr(image, "MOST_RESIZED_PIXELS", 36 * 540 - 1)
    assert np.abs(decode(body, wanted, exact=True).astype(int) - whole).max() <= 2
    assert decode(encode(Image.new("RGB", (20_000, 1)), "PNG"), preprocessing(2048), exact=True).shape == (
        2048,
        2048,
        3,
    )
