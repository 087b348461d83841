"""Images that come decoded: resized like any other, or run as they are when they have been prepared."""

import numpy as np
import pytest

from service.core.errors import EffserveError, ErrorKind
from service.core.values import ImageHeader, Pixels
from service.pipeline.image import PIXELS, decode, read_header, sample
from tests.fixtures import encode, photo, pixels_of, preprocessing


def pixels(width: int, height: int, *, prepared: bool = False) -> Pixels:
    """A photo, decoded."""
    return Pixels(pixels_of(photo(width, height)).tobytes(), width, height, prepared)


def test_the_header_tells_what_was_given() -> None:
    """Bytes are those of the pixels."""
    assert read_header(pixels(30, 20), max_pixels=600) == ImageHeader(PIXELS, 30, 20, 1800)


def test_the_limit_of_pixels_holds() -> None:
    """As for encoded images."""
    with pytest.raises(EffserveError) as caught:
        read_header(pixels(30, 20), max_pixels=599)
    assert caught.value.kind is ErrorKind.TOO_MANY_PIXELS


def test_no_pixels_are_no_image() -> None:
    """An axis of length 0."""
    with pytest.raises(EffserveError) as caught:
        read_header(Pixels(b"", 0, 20), max_pixels=1)
    assert caught.value.kind is ErrorKind.EMPTY_IMAGE


@pytest.mark.parametrize("size", [(320, 240), (33, 200), (32, 32)])
def test_pixels_are_resized_as_the_file_would_be(size: tuple[int, int]) -> None:
    """A PNG of them gives the same, to the bit."""
    file = encode(photo(*size), "PNG")
    assert np.array_equal(decode(pixels(*size), preprocessing(32)), decode(file, preprocessing(32)))


def test_prepared_pixels_are_run_as_they_are() -> None:
    """Neither resized nor cropped."""
    assert np.array_equal(decode(pixels(32, 32, prepared=True), preprocessing(32)), pixels_of(photo(32, 32)))


def test_a_sample_of_pixels_has_the_size_that_was_asked_for() -> None:
    """Start-up measures with it what resizing costs."""
    made = sample(PIXELS, 700, 600)
    assert read_header(made, max_pixels=420_000) == ImageHeader(PIXELS, 700, 600, 3 * 420_000)
