"""Runs variants over images, each image by all of them in turn, through what a lane of the service does.

Decoding and running are the executor's, so preprocessing, thread count and batch of one are the service's. Several
threads work at once, as lanes do, and the times are those of lanes that are all busy. Every image goes through all
variants before the next one, in an order drawn anew each time, so that other work on the machine and warm caches favour
none of them.
"""

import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np

from model_store.images import ImageSet, Sample
from service.core.errors import EffserveError, ErrorKind
from service.evaluation.measures import Floats, Indices, Logits
from service.evaluation.plan import Subject
from service.pipeline import image
from service.pipeline.executor import Executor
from service.pipeline.lanes import LaneRun


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one variant answered, image by image."""

    images: Indices
    """Positions among the samples that were run, ascending."""
    labels: Indices
    """The variant's class of each image."""
    logits: Logits
    decode_s: Floats
    inference_s: Floats


@dataclass(frozen=True, slots=True)
class Runs:
    """All answers, and what gave none."""

    sheets: dict[str, Sheet]
    """By variant; only those that answered for an image at least."""
    unreadable: dict[str, str]
    """Names of images that one variant or the service itself could not read, with the reason. No sheet has them."""
    broken: dict[str, str]
    """Variants whose network failed, with the reason. They have no sheet."""


class Evaluation:
    """One pass over the images. Threads share it: each fills rows of its own."""

    def __init__(
        self,
        images: ImageSet,
        samples: Sequence[Sample],
        subjects: Sequence[Subject],
        *,
        max_pixels: int,
        exact: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._images = images
        self._samples = samples
        self._subjects = subjects
        self._max_pixels = max_pixels
        runners = {subject.name: subject.runner for subject in subjects}
        self._execute = Executor(lambda variant: runners[variant.name], clock, exact=exact)
        self._pages = {subject.name: _Page.of(subject, len(samples)) for subject in subjects}
        self._unreadable: dict[str, str] = {}
        self._broken: dict[str, str] = {}

    def run(self, *, threads: int, announce: Callable[[int], None] = lambda _: None) -> Runs:
        """Everything, `threads` images at a time; `announce` is told how many are done."""
        pool = ThreadPoolExecutor(threads)
        try:
            jobs = [pool.submit(self._one, position) for position in range(len(self._samples))]
            for count, job in enumerate(as_completed(jobs), 1):
                job.result()
                announce(count)
        finally:
            # Without this an interrupted evaluation would go through all images before it ends.
            pool.shutdown(cancel_futures=True)
        sheets = {subject.name: self._pages[subject.name].sheet(subject, self._samples) for subject in self._subjects}
        answered = {name: sheet for name, sheet in sheets.items() if len(sheet.images) and name not in self._broken}
        unreadable = {name: self._unreadable[name] for name in sorted(self._unreadable)}
        return Runs(answered, unreadable, dict(self._broken))

    def _one(self, position: int) -> None:
        """One image through all variants that know its class; all of them keep their answers or none does."""
        sample = self._samples[position]
        try:
            body = self._images.read(sample)
            image.read_header(body, max_pixels=self._max_pixels)
            answers = {subject.name: self._answer(subject, body, sample) for subject in self._judges(position)}
        except EffserveError as error:
            self._unreadable[sample.name] = error.detail
        except (OSError, zipfile.BadZipFile) as error:
            self._unreadable[sample.name] = " ".join(str(error).split())
        else:
            for name, answer in answers.items():
                if answer is not None:
                    self._pages[name].put(position, answer)

    def _judges(self, position: int) -> Iterator[Subject]:
        label = self._samples[position].label
        order = np.random.default_rng(position).permutation(len(self._subjects)).tolist()
        return (self._subjects[one] for one in order if label in self._subjects[one].known)

    def _answer(self, subject: Subject, body: bytes, sample: Sample) -> LaneRun | None:
        """None of a variant that is broken: one failed run is enough. Raises `EffserveError` for the image's faults."""
        if subject.name in self._broken:
            return None
        try:
            run = self._execute(body, subject.entry.variant())
        except EffserveError as error:
            if error.kind is not ErrorKind.INTERNAL:
                raise
            self._broken[subject.name] = f"{error.detail} on {sample.name}: {' '.join(str(error.__cause__).split())}"
            return None
        if np.isfinite(run.logits).all():
            return run
        self._broken[subject.name] = f"the network's output is not finite on {sample.name}"
        return None


@dataclass(frozen=True, slots=True)
class _Page:
    """Room for a variant's answers to all images; pages of memory that stay unwritten cost nothing."""

    answered: np.ndarray
    logits: Logits
    decode_s: Floats
    inference_s: Floats

    @classmethod
    def of(cls, subject: Subject, images: int) -> "_Page":
        classes = subject.entry.manifest.labels.classes
        logits = np.empty((images, classes), np.float32)
        return cls(np.zeros(images, np.bool_), logits, np.empty(images), np.empty(images))

    def put(self, position: int, run: LaneRun) -> None:
        self.logits[position] = run.logits
        self.decode_s[position], self.inference_s[position] = run.decode_s, run.inference_s
        self.answered[position] = True

    def sheet(self, subject: Subject, samples: Sequence[Sample]) -> Sheet:
        rows = np.flatnonzero(self.answered)
        labels = np.array([subject.known[samples[row].label] for row in rows.tolist()], np.intp)
        logits = self.logits if len(rows) == len(self.logits) else self.logits[rows]
        return Sheet(rows, labels, logits, self.decode_s[rows], self.inference_s[rows])
