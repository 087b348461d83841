"""What a lane does for one request: decode the image straight to the size the variant wants, run its session."""

from collections.abc import Callable
from dataclasses import dataclass

from model_store.manifest import Preprocessing
from service.core.values import Source, Variant
from service.pipeline import image
from service.pipeline.lanes import LaneRun
from service.pipeline.session import Session
from service.pipeline.stop import Stop


@dataclass(frozen=True, slots=True)
class Runner:
    """A warm session with the preprocessing its graph was made for."""

    session: Session
    preprocessing: Preprocessing


class Executor:
    """Runs variants that `find` has. Lanes share it: sessions are thread-safe, everything else is local to a call."""

    def __init__(self, find: Callable[[Variant], Runner], clock: Callable[[], float], *, exact: bool = False) -> None:
        """`exact`: see `image.decode`."""
        self._find = find
        self._exact = exact
        self._clock = clock

    def __call__(self, body: Source, variant: Variant, stop: Stop | None = None) -> LaneRun:
        """Logits [classes] with the time each stage took.

        Raises `EffserveError(UNDECODABLE_IMAGE | INTERNAL)`, and `Terminated` when `stop` was asked in time.
        """
        runner = self._find(variant)
        started_s = self._clock()
        pixels = image.decode(body, runner.preprocessing, exact=self._exact)
        decoded_s = self._clock()
        if stop is not None:
            stop.check()
        logits = runner.session.run(pixels[None], stop)
        ended_s = self._clock()
        return LaneRun(logits[0], started_s, decoded_s - started_s, ended_s - decoded_s)
