"""BentoML: a service with processes or threads; the image is the raw body, which BentoML opens."""

from typing import Any

import bentoml
from PIL.Image import Image

from benchmarks.peers.apps.work import Given, Work

GIVEN = Given.read()


@bentoml.service(
    workers=GIVEN.workers,
    threads=1 if GIVEN.workers > 1 else 2,
    logging={"access": {"enabled": False}},
)
class Classifier:
    """One in each worker."""

    def __init__(self) -> None:
        self.work = Work(GIVEN)

    @bentoml.api(route="/classify")
    def classify(self, image: Image, /) -> dict[str, Any]:
        """The root input: no form around it."""
        return self.work.of(image)
