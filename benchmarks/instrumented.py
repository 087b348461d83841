"""`effserve` with measuring wrapped around it, for benchmarks: `python -m benchmarks.instrumented WHAT FILE serve …`.

WHAT says what is measured, FILE is written when the service ends, and all that follows is the command line's. The
service's own code is as it is; what is wrapped is put in its place by name, before anything runs.

- `steps`: the processor time of the event loop's thread, by step. Of nested steps each has its own time only, and of an
  `async` one what it takes between two waits.
- `operators`: ONNX Runtime's own profile of every session.
"""

import contextlib
import functools
import importlib
import inspect
import json
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import onnxruntime

from service import cli, huge_pages

Step = tuple[str, str, str]
"""Module, name in it, and what is shown."""
STEPS: tuple[Step, ...] = (
    ("service.edges.http.server", "HttpToolsProtocol.data_received", "parse HTTP"),
    ("service.edges.http.hot_path", "HotPath._answer", "route"),
    ("service.edges.http.app", "_parameters", "parameters"),
    ("service.edges.http.app", "question", "parameters"),
    ("service.edges.http.app", "read_image", "body"),
    ("service.edges.http.app", "identity", "request id"),
    ("service.dataplane", "Dataplane.classify", "request to job and back"),
    ("service.pipeline.image", "read_header", "image header"),
    ("service.pipeline.lanes", "Lanes.run", "admission, decision, hand-over to the lane"),
    ("service.pipeline.lanes", "Lanes._close_books", "learn from the run, decide what is next"),
    ("service.dataplane", "Dataplane._answer", "top-k, answer"),
    ("service.edges.http.app", "_Edge._answered", "JSON, headers"),
    ("service.edges.http.hot_path", "Response.__call__", "send"),
    ("service.dataplane", "Dataplane.handed_over", "learn how long responding takes"),
    ("service.dataplane", "Dataplane._tell", "log line, metrics"),
)
LAST = "log line, metrics"
"""Comes once for each request, after everything else of it."""


class Stopwatch:
    """Of one thread: microseconds of its processor time, by what it was doing."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._taken: dict[str, float] = dict.fromkeys((shown for _, _, shown in STEPS), 0.0)
        self._doing: list[str] = []
        self._since_s = time.thread_time()
        self._before_s = self._since_s
        self.requests: list[dict[str, float]] = []
        """Of each, `all` with what no step has."""

    def here(self) -> bool:
        """Whether the calling thread is the one."""
        return threading.get_ident() == self._thread

    def begin(self, step: str) -> None:
        """From now on, until `end` or another step within it."""
        self._charge()
        self._doing.append(step)

    def end(self) -> None:
        """What was done before goes on."""
        self._charge()
        if self._doing.pop() == LAST and not self._doing:
            self._note()

    def _charge(self) -> None:
        now_s = time.thread_time()
        if self._doing:
            self._taken[self._doing[-1]] += (now_s - self._since_s) * 1e6
        self._since_s = now_s

    def _note(self) -> None:
        self.requests.append(self._taken | {"all": (self._since_s - self._before_s) * 1e6})
        self._taken = dict.fromkeys(self._taken, 0.0)
        self._before_s = self._since_s


def wrap(watch: Stopwatch) -> None:
    """Put every step's function into the watch. Raises `AttributeError` when one is not there any more."""
    for module, name, shown in STEPS:
        *classes, last = name.split(".")
        place = functools.reduce(getattr, classes, importlib.import_module(module))
        setattr(place, last, _timed(getattr(place, last), watch, shown))


def _timed(function: Callable[..., Any], watch: Stopwatch, shown: str) -> Callable[..., Any]:
    @functools.wraps(function)
    async def resumed(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
        return await _resumed(function(*given, **named), watch, shown)

    @functools.wraps(function)
    def timed(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - likewise
        if not watch.here():
            return function(*given, **named)
        watch.begin(shown)
        try:
            return function(*given, **named)
        finally:
            watch.end()

    return resumed if inspect.iscoroutinefunction(function) else timed


@types.coroutine
def _resumed(work: Coroutine[Any, Any, Any], watch: Stopwatch, shown: str) -> Generator[Any, Any, Any]:
    """The same coroutine, with the watch on it from one wait to the next."""
    resume: Callable[[Any], Any] = work.send
    given: Any = None
    while True:
        watch.begin(shown)
        try:
            waited_for = resume(given)
        except StopIteration as end:
            return end.value
        finally:
            watch.end()
        try:
            resume, given = work.send, (yield waited_for)
        except BaseException as error:
            # Whatever it is, it is for the coroutine.
            resume, given = work.throw, error


def _steps(file: Path) -> Iterator[None]:
    watch = Stopwatch()
    wrap(watch)
    yield
    file.write_text(json.dumps(watch.requests))


def _operators(file: Path) -> Iterator[None]:
    """Writes where each session's profile is, and when it began, in nanoseconds since 1970."""
    # Profiles are written where the process is.
    os.chdir(file.parent)
    open_session, opened = onnxruntime.InferenceSession, list[Any]()

    def profiled(path: Path, options: Any, **given: Any) -> Any:  # noqa: ANN401 - the runtime is untyped
        options.enable_profiling = True
        opened.append(open_session(path, options, **given))
        return opened[-1]

    onnxruntime.InferenceSession = profiled
    yield
    told = [(one.get_profiling_start_time_ns(), str(file.parent / one.end_profiling())) for one in opened]
    file.write_text(json.dumps(told))


WHAT: dict[str, Callable[[Path], Iterator[None]]] = {"steps": _steps, "operators": _operators}


def main() -> None:
    """Serve, and write. It begins anew with huge pages where `effserve` does."""
    if (wanted := huge_pages.environment(os.environ)) is not None:
        os.execve(sys.executable, sys.orig_argv, wanted)
    what, file, *sys.argv[1:] = sys.argv[1:]
    with contextlib.contextmanager(WHAT[what])(Path(file)), contextlib.suppress(SystemExit):
        cli.main()


def through(what: str, file: Path) -> list[str]:
    """The command in the place of `effserve`."""
    return [sys.executable, "-m", "benchmarks.instrumented", what, str(file)]


if __name__ == "__main__":
    main()
