"""What a lane does for one request: decode, run, and end early between the two when it is asked to."""

import itertools
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from model_store.manifest import Preprocessing
from service.core.errors import EffserveError, ErrorKind
from service.pipeline import image
from service.pipeline.executor import Executor, Runner
from service.pipeline.session import Session
from service.pipeline.stop import Stop, Terminated
from tests.builders import variant
from tests.fixtures import jpeg, preprocessing


class Noting:
    """A session that notes what it is given."""

    def __init__(self) -> None:
        self.runs: list[tuple[tuple[int, ...], Stop | None]] = []

    def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """Answer 1 and 2."""
        self.runs.append((pixels.shape, stop))
        return np.array([[1, 2]], np.float32)


@pytest.fixture(name="session")
def _session() -> Noting:
    return Noting()


@pytest.fixture(name="execute")
def _execute(session: Noting) -> Executor:
    ticks = itertools.count()
    runner = Runner(cast(Session, session), preprocessing(32))
    return Executor(lambda _: runner, lambda: float(next(ticks) ** 2))


def test_an_image_is_decoded_to_the_size_of_the_variant_and_run(execute: Executor, session: Noting) -> None:
    """Each stage is timed; a run that nobody may end has nobody to listen to."""
    run = execute(jpeg(), variant("b0"))
    assert (run.logits.tolist(), run.started_s, run.decode_s, run.inference_s) == ([1.0, 2.0], 0.0, 1.0, 3.0)
    assert session.runs == [((1, 32, 32, 3), None)]


@pytest.mark.parametrize("exact", [False, True])
def test_pixels_are_made_the_way_that_was_set(monkeypatch: pytest.MonkeyPatch, *, exact: bool) -> None:
    """`images.exact`."""
    asked, decode = [], image.decode

    def noted(body: bytes, preprocessing: Preprocessing, *, exact: bool) -> npt.NDArray[np.uint8]:
        asked.append(exact)
        return decode(body, preprocessing, exact=exact)

    monkeypatch.setattr(image, "decode", noted)
    runner = Runner(cast(Session, Noting()), preprocessing(32))
    Executor(lambda _: runner, lambda: 0.0, exact=exact)(jpeg(), variant("b0"))
    assert asked == [exact]


def test_the_session_hears_of_a_request_to_end(execute: Executor, session: Noting) -> None:
    """It gets the one that the lane got."""
    stop = Stop()
    execute(jpeg(), variant("b0"), stop)
    assert session.runs[0][1] is stop


def test_a_run_that_shall_end_does_not_begin(execute: Executor, session: Noting) -> None:
    """It was asked while the image was being decoded, which nothing interrupts."""
    stop = Stop()
    stop.ask()
    with pytest.raises(Terminated):
        execute(jpeg(), variant("b0"), stop)
    assert session.runs == []


def test_a_damaged_image_is_told_even_when_the_run_shall_end(execute: Executor) -> None:
    """It would not have had an answer anyway."""
    stop = Stop()
    stop.ask()
    with pytest.raises(EffserveError) as caught:
        execute(jpeg()[:500], variant("b0"), stop)
    assert caught.value.kind is ErrorKind.UNDECODABLE_IMAGE
