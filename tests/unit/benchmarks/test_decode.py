"""The measurement of decoding: what it counts, and that every table of it can be made."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.decode import carriers, effect, page, study, timing
from benchmarks.decode.effect import Answers
from benchmarks.decode.study import Effect, Setting, Study
from benchmarks.machine import Machine
from tests.fixtures import encode, jpeg, photo, preprocessing, tiny_store

HERE = Machine("a processor", 2, 4.0, "3.11", "1.25", "abc", "2026-01-01", 0.1)


def changed(**by_image: int) -> Answers:
    """Answers to images 0, 1, …, by what became of them."""
    made = Effect("b0", 32, "some", 9, 0, 0.1, 0.2, 1.0, 1, len(by_image), 1, 0, 0)
    return Answers(made, dict(enumerate(by_image.values())))


def test_all_answers_about_an_image_are_one_observation() -> None:
    """Three networks that lose the same image show less than three images that are lost."""
    alike = effect.pooled([changed(a=-1, b=0)] * 3)
    assert alike is not None
    assert (alike.images, alike.answers, alike.lost, alike.gained, alike.change) == (2, 6, 3, 0, -0.5)


def test_without_labels_nothing_is_pooled() -> None:
    """None, not an interval around nothing."""
    assert effect.pooled([changed()]) is None


def test_images_that_all_stay_as_they_are_leave_room_for_doubt() -> None:
    """The interval has a width, less of it with more images, and both sides are alike."""
    few, many = (effect.interval(np.zeros(count)) for count in (100, 1_000))
    assert few[1] > many[1] > 0
    assert few[0] == pytest.approx(-few[1])


@pytest.mark.parametrize(("width", "height", "expected"), [(127, 300, False), (128, 128, True), (400, 60, False)])
def test_a_reduced_scale_is_told_from_the_header(width: int, height: int, expected: bool) -> None:
    """Half of the shorter edge must be twice the target, 64 pixels for an input of 32."""
    assert effect.reduced(jpeg(width, height), preprocessing(32, 1.0)) is expected
    assert not effect.reduced(encode(photo(width, height), "PNG"), preprocessing(32, 1.0))


def test_enlarged_images_are_larger_jpegs() -> None:
    """The same each time."""
    body = jpeg(30, 20)
    assert carriers.enlarged(body, 8, 0) == carriers.enlarged(body, 8, 0)
    assert effect.reduced(carriers.enlarged(body, 8, 0), preprocessing(32, 1.0))


def test_a_measurement_is_kept_and_shown(tmp_path: Path) -> None:
    """Times, pixels and answers of two pictures, with networks that know some of the labels."""
    for name, size in (("n00000001/a.jpg", (300, 200)), ("n00000002/b.jpg", (60, 40)), ("other/c.jpg", (40, 40))):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(jpeg(*size))
    bodies = [jpeg(320, 240), jpeg(60, 40)]
    times = timing.times("JPEG", bodies, timing.ways() | timing.parts(bodies), 2)
    found = list(effect.answers(tiny_store(tmp_path / "store"), effect.of_labelled(tmp_path / "data", (8,), None)))
    made = Study(
        HERE, (), Setting(photos=2, rounds=2), tuple(times), (timing.apart("JPEG", bodies),),
        tuple(one.effect for one in found), effect.pooled(found),
    )  # fmt: skip
    study.write(made, tmp_path / "decode.json")
    assert study.read(tmp_path / "decode.json") == made
    assert [one.effect.labelled for one in found] == [2] * 4
    assert found[0].effect.reduced == 1
    assert all(one.rounds_ms[0] <= one.rounds_ms[1] for one in times)
    assert all(table.rows for table in page.tables(made) if table.title != "What else ran")
