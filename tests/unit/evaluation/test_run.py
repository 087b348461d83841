"""Variants over images: every image through all of them or none, and what goes wrong has a name."""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from model_store.manifest import Preprocessing
from service.core.errors import EffserveError, ErrorKind
from service.evaluation.plan import Plan
from service.evaluation.run import Evaluation, Runs
from service.pipeline import image
from service.pipeline.executor import Runner
from service.pipeline.session import Session
from service.pipeline.stop import Stop
from service.pipeline.termination import Stoppable
from tests.fixtures import png_header_bomb, tiny_store
from tests.unit.evaluation.kit import PIXELS, TRUNCATED, Make, answer, archive, folder, photos, planned, relabel

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store")


def ran(plan: Plan, *, threads: int = 2, clock: Callable[[], float] = time.perf_counter) -> Runs:
    """All answers of a plan."""
    evaluation = Evaluation(plan.images, plan.samples, plan.subjects, max_pixels=PIXELS, clock=clock)
    return evaluation.run(threads=threads)


class Faulty:
    """A session that raises, or answers nonsense, from its third run on."""

    def __init__(self, then: BaseException | npt.NDArray[np.float32]) -> None:
        self._runs = itertools.count()
        self._then = then

    def run(self, pixels: Pixels, stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """See `Session.run`."""
        if next(self._runs) < 2:
            return np.zeros((1, 10), np.float32)
        if isinstance(self._then, BaseException):
            raise self._then
        return self._then


def with_session(plan: Plan, name: str, session: Stoppable) -> Plan:
    """The plan with another session for one variant."""
    subjects = [
        replace(one, runner=Runner(cast(Session, session), one.runner.preprocessing)) if one.name == name else one
        for one in plan.subjects
    ]
    return replace(plan, subjects=tuple(subjects))


def internal() -> EffserveError:
    """As a session raises it."""
    error = EffserveError(ErrorKind.INTERNAL, "inference failed")
    error.__cause__ = RuntimeError("out of\nmemory")
    return error


@pytest.mark.parametrize("make", [folder, archive])
@pytest.mark.parametrize("threads", [1, 4])
def test_answers_are_those_of_the_service(make: Make, threads: int, tmp_path: Path, store: Path) -> None:
    """Whatever they were read from and however many at a time."""
    files = photos()
    runs = ran(planned(make(tmp_path / "data", files), store), threads=threads)
    for name, sheet in runs.sheets.items():
        assert sheet.images.tolist() == list(range(6))
        assert sheet.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert sheet.logits.argmax(axis=1).tolist() == [answer(store, name, body) for body in files.values()]
    assert (list(runs.sheets), runs.unreadable, runs.broken) == (["b0", "b1"], {}, {})


def test_decoding_and_inference_are_timed_apart(tmp_path: Path, store: Path) -> None:
    """Three readings of the clock an image and variant."""
    ticks = itertools.count()
    plan = planned(folder(tmp_path / "data", photos()), store)
    for sheet in ran(plan, threads=1, clock=lambda: float(next(ticks))).sheets.values():
        assert set(sheet.decode_s) == set(sheet.inference_s) == {1.0}


def test_variants_take_turns(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image goes through all before the next one, and none is always first."""
    sizes = []
    decode = image.decode

    def noted(body: bytes, preprocessing: Preprocessing, *, exact: bool) -> Pixels:
        sizes.append(preprocessing.input_size_px)
        return decode(body, preprocessing, exact=exact)

    monkeypatch.setattr(image, "decode", noted)
    ran(planned(folder(tmp_path / "data", photos(each=4)), store), threads=1)
    pairs = list(zip(sizes[::2], sizes[1::2], strict=True))
    assert set(pairs) == {(32, 128), (128, 32)}
    assert len(pairs) == 12


@pytest.mark.parametrize("make", [folder, archive])
def test_what_cannot_be_read_counts_for_no_variant(make: Make, tmp_path: Path, store: Path) -> None:
    """It is named with its reason, and the others keep their places."""
    bad = {
        "n00000000/empty.jpg": b"",
        "n00000001/cut.jpg": TRUNCATED,
        "n00000001/large.png": png_header_bomb(),
        "n00000002/text.png": b"no image",
        "n00000002/a.jpg": b"\x00\x00\x00\x18ftypavif",
    }
    plan = planned(make(tmp_path / "data", photos() | bad), store)
    runs = ran(plan)
    assert set(runs.unreadable) == set(bad)
    assert runs.unreadable["n00000000/empty.jpg"] == "the image has no bytes"
    assert "damaged" in runs.unreadable["n00000001/cut.jpg"]
    assert "the limit is 1000000 pixels" in runs.unreadable["n00000001/large.png"]
    assert runs.unreadable["n00000002/a.jpg"].startswith("AVIF images are not read")
    for sheet in runs.sheets.values():
        assert [plan.samples[position].name for position in sheet.images] == sorted(photos())
        assert len(sheet.logits) == len(sheet.labels) == len(sheet.decode_s) == 6


def test_an_image_that_one_variant_cannot_decode_counts_for_none(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are judged on the same."""
    decode = image.decode

    def picky(body: bytes, preprocessing: Preprocessing, *, exact: bool) -> Pixels:
        if preprocessing.input_size_px == 128 and body == photos()["n00000001/0.jpg"]:
            raise EffserveError(ErrorKind.UNDECODABLE_IMAGE, "the image is damaged: somehow")
        return decode(body, preprocessing, exact=exact)

    monkeypatch.setattr(image, "decode", picky)
    runs = ran(planned(folder(tmp_path / "data", photos()), store))
    assert runs.unreadable == {"n00000001/0.jpg": "the image is damaged: somehow"}
    assert [sheet.images.tolist() for sheet in runs.sheets.values()] == [[0, 1, 3, 4, 5]] * 2


def test_a_file_that_vanishes_is_named(tmp_path: Path, store: Path) -> None:
    """Image sets live on network drives."""
    plan = planned(folder(tmp_path / "data", photos()), store)
    (tmp_path / "data/n00000000/1.jpg").unlink()
    runs = ran(plan)
    assert list(runs.unreadable) == ["n00000000/1.jpg"]
    assert "No such file" in runs.unreadable["n00000000/1.jpg"]


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (internal(), "inference failed on n00000001/0.jpg: out of memory"),
        (np.full((1, 10), np.nan, np.float32), "the network's output is not finite on n00000001/0.jpg"),
    ],
)
def test_a_network_that_fails_is_named_and_leaves_the_others(
    tmp_path: Path, store: Path, then: BaseException | npt.NDArray[np.float32], reason: str
) -> None:
    """Its answers so far are not worth keeping."""
    plan = planned(folder(tmp_path / "data", photos()), store)
    runs = ran(with_session(plan, "b1", Faulty(then)), threads=1)
    assert runs.broken == {"b1": reason}
    assert list(runs.sheets) == ["b0"]
    assert len(runs.sheets["b0"].images) == 6
    assert runs.unreadable == {}


def test_an_unforeseen_failure_is_not_taken_for_an_image(tmp_path: Path, store: Path) -> None:
    """It ends the evaluation."""
    plan = planned(folder(tmp_path / "data", photos()), store)
    with pytest.raises(MemoryError):
        ran(with_session(plan, "b1", Faulty(MemoryError())))


class Slow:
    """A session that counts its runs, each of which takes a while; the second one waits for the interruption."""

    def __init__(self) -> None:
        self.runs = 0
        self.interrupted = threading.Event()

    def run(self, pixels: Pixels, stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """See `Session.run`."""
        self.runs += 1
        if self.runs > 1:
            self.interrupted.wait(60)
            time.sleep(0.02)
        return np.zeros((1, 10), np.float32)


def test_an_interrupted_evaluation_ends_soon(tmp_path: Path, store: Path) -> None:
    """What is in hand is finished, the rest is not begun; no thread is left."""
    plan = planned(folder(tmp_path / "data", photos(classes=10, each=10)), store, "b0")
    threads, slow = set(threading.enumerate()), Slow()
    slowed = with_session(plan, "b0", slow)

    def interrupt(_: int) -> None:
        slow.interrupted.set()
        raise KeyboardInterrupt

    evaluation = Evaluation(slowed.images, slowed.samples, slowed.subjects, max_pixels=PIXELS)
    with pytest.raises(KeyboardInterrupt):
        evaluation.run(threads=1, announce=interrupt)
    assert slow.runs < 100
    assert set(threading.enumerate()) <= threads


def test_variants_answer_only_what_they_know(tmp_path: Path, store: Path) -> None:
    """Each by the classes of its own."""
    relabel(store / "b1/1", "".join(f"{index}\tn{index + 2:08d}\tword {index}\n" for index in range(10)))
    runs = ran(planned(folder(tmp_path / "data", photos(classes=3)), store, "b0", "b1"))
    assert runs.sheets["b0"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (runs.sheets["b1"].images.tolist(), runs.sheets["b1"].labels.tolist()) == ([4, 5], [0, 0])


def test_progress_counts_to_the_end(tmp_path: Path, store: Path) -> None:
    """Images, not variants."""
    plan, told = planned(folder(tmp_path / "data", photos()), store), list[int]()
    Evaluation(plan.images, plan.samples, plan.subjects, max_pixels=PIXELS).run(threads=2, announce=told.append)
    assert told == [1, 2, 3, 4, 5, 6]
