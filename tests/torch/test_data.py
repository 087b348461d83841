"""What training and its validation read from files is what the service would read from them."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make torch` runs these")

from model_store.images import open_images  # noqa: E402
from model_store.training import data  # noqa: E402
from model_store.training.recipe import Recipe  # noqa: E402
from service.pipeline.image import decode  # noqa: E402
from tests.fixtures import preprocessing  # noqa: E402
from tests.unit.model_store.odd_pictures import EDGE_PX, odd_pictures  # noqa: E402

ODD = odd_pictures()
PLAIN_RECIPE = Recipe(
    size_px=EDGE_PX, train_size_px=EDGE_PX, epochs=1, fine_tune_epochs=1, smallest_crop=1.0, rand_augment_operations=0
)
FINE_TUNE_EPOCH = 1
"""Its images are unaugmented, but for being mirrored at random."""


def one_image(folder: Path, content: bytes) -> Path:
    """A ZIP with it, whatever its format."""
    with zipfile.ZipFile(folder / "one.zip", "w") as archive:
        archive.writestr("thing/1.jpg", content)
    return folder / "one.zip"


@pytest.mark.parametrize("kind", ODD)
def test_validation_sees_what_the_service_sees(kind: str, tmp_path: Path) -> None:
    """Palettes, alpha, 16 bits, CMYK, turned pictures: the same pixels."""
    item = data.TestImages(open_images(one_image(tmp_path, ODD[kind])), EDGE_PX, 1.0)[0]
    assert not isinstance(item, str)
    assert np.array_equal(item[0].permute(1, 2, 0).numpy(), decode(ODD[kind], preprocessing(EDGE_PX, 1.0)))


@pytest.mark.parametrize("kind", ODD)
def test_training_sees_what_the_service_sees(kind: str, tmp_path: Path) -> None:
    """The same pixels before it changes them; mirrored, half of the time."""
    images = open_images(one_image(tmp_path, ODD[kind]))
    item = data.TrainingImages(images, PLAIN_RECIPE)[data.Draw(0, FINE_TUNE_EPOCH)]
    assert not isinstance(item, str)
    drawn, served = item[0].permute(1, 2, 0).numpy(), decode(ODD[kind], preprocessing(EDGE_PX, 1.0))
    assert any(np.array_equal(drawn, one) for one in (served, served[:, ::-1]))


def test_a_file_that_will_not_decode_is_named(tmp_path: Path) -> None:
    """In place of its pixels."""
    images = open_images(one_image(tmp_path, b"\xff\xd8 not a JPEG"))
    assert data.TrainingImages(images, PLAIN_RECIPE)[data.Draw(0, 0)] == "thing/1.jpg"
