"""Serving and training take an encoded image for the same picture."""

import numpy as np
import pytest

from model_store.pictures import picture
from service.pipeline.image import decode
from tests.fixtures import encode, jpeg, photo, preprocessing
from tests.unit.model_store.odd_pictures import EDGE_PX, odd_pictures

ODD = odd_pictures()


@pytest.mark.parametrize("kind", ODD)
def test_odd_pictures_are_what_the_service_sees(kind: str) -> None:
    """Pixel by pixel, where the service has nothing to resize."""
    seen = decode(ODD[kind], preprocessing(EDGE_PX, 1.0))
    assert np.array_equal(np.asarray(picture(ODD[kind])), seen)


def test_a_picture_is_whole() -> None:
    """Neither resized nor cropped, however large: that is left to whoever uses it."""
    assert picture(jpeg(701, 303)).size == (701, 303)


def test_formats_that_are_not_served_are_not_read() -> None:
    """A TIFF is refused whatever its file is called, so that nobody trains on what cannot be asked about."""
    with pytest.raises(OSError, match="cannot identify"):
        picture(encode(photo(20, 20), "TIFF"))
