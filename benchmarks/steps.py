"""The steps that `micro` times: each is a call without arguments that leaves things as it found them.

Sixteen variants, all of them on the Pareto front, and budgets that make the rule look at every waiting job: a harder
case than the store's own dozen.
"""

import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image

from benchmarks import observing
from model_store.manifest import Preprocessing
from service.core.alone import best_alone
from service.core.catalogue import Catalogue
from service.core.latency import Calibration, DecodeCost, LatencyModel
from service.core.messages import Answer, Prediction
from service.core.policy import BudgetPolicy
from service.core.scheduler import Scheduler
from service.core.state import Running, SystemState
from service.core.values import AccuracySource, Deadline, ImageHeader, Job, Question, Timing, Variant
from service.edges.grpc.convert import classify_response
from service.edges.http.models import answer_json
from service.pipeline import image

Step = Callable[[], object]
Steps = dict[str, Step]

VARIANTS, LANES, BUDGET_S, DECODE_S = 16, 2, 0.5, 0.004
WAITING = (0, 10, 100)
TIMES_S = {f"v{level}": 0.01 * 1.3**level for level in range(VARIANTS)}
FAMILY = tuple(
    Variant(name, 1, 0.75 + level / 100, AccuracySource.MEASURED, trained=True) for level, name in enumerate(TIMES_S)
)
INPUT = Preprocessing(input_size_px=224, crop_pct=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@contextmanager
def every_step(photos: list[bytes]) -> Iterator[Steps]:
    """All of them by what they are called. Log lines go to the null device while they run."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123 - a device, not a file
        observing.steps(_answer(), nowhere) as telemetry,
    ):
        yield _alone() | telemetry | _decisions() | _conversions() | _images(photos)


def _alone() -> Steps:
    """Each time as after a run that taught something: nothing of an earlier answer holds."""
    job, costs = _job(1), _latency()
    return {
        "telemetry: what a request alone would have got": lambda: best_alone(
            0.0, job, Catalogue(FAMILY), costs, upgrades=False
        )
    }


def _decisions() -> Steps:
    steps: Steps = {}
    for waiting in WAITING:
        steps[f"decision: choose a variant, {waiting} waiting"] = _decide(waiting)
        steps[f"decision: take in a request (and let it go), {waiting} waiting"] = _submit(waiting)
    return steps


def _decide(waiting: int) -> Step:
    """One lane busy, one idle; the job in question is the most urgent."""
    policy, costs, jobs = _policy(), _latency(), _jobs(waiting + 1)
    state = SystemState(tuple(jobs), (_running(0),), LANES, arrivals_per_s=50)
    return lambda: policy.decide(0.0, jobs[0], state, costs)


def _submit(waiting: int) -> Step:
    """All lanes busy, so that nothing starts: admission, insertion, and removal again."""
    scheduler, numbers = Scheduler(policy=_policy(), latency=_latency(), lanes=LANES), itertools.count(1_000)
    for job in _jobs(LANES + waiting):
        scheduler.submit(0.0, job)

    def once() -> None:
        number = next(numbers)
        scheduler.submit(0.0, _job(number))
        scheduler.cancel(0.0, number)

    return once


def _policy() -> BudgetPolicy:
    return BudgetPolicy(Catalogue(FAMILY))


def _latency() -> LatencyModel:
    return LatencyModel(Calibration(TIMES_S, {"JPEG": DecodeCost(DECODE_S, 0.0)}, (1.0,) * 600, terminate_s=0.003))


def _job(number: int, budget_s: float = BUDGET_S) -> Job:
    return Job(number, Question(Deadline(0.0, budget_s)), DECODE_S)


def _jobs(count: int) -> list[Job]:
    """In order of their deadlines, far enough apart that all can be met."""
    return [_job(number, BUDGET_S + 0.02 * number) for number in range(count)]


def _running(lane: int) -> Running:
    return Running(lane, _job(10_000), FAMILY[0], 0.0, 0.02, 0.02)


def _conversions() -> Steps:
    answer = _answer()
    return {
        "answer: to JSON": lambda: answer_json(answer),
        "answer: to a protobuf message": lambda: classify_response(answer).SerializeToString(),
    }


def _answer() -> Answer:
    job = _job(1)
    decision = _policy().decide(0.0, job, SystemState((job,), (), LANES, arrivals_per_s=50), _latency())
    return Answer(
        request_id="0123456789abcdef0123456789abcdef",
        predictions=tuple(Prediction(n, f"n{n:08d}", "a label of some length", 0.1) for n in range(5)),
        decision=decision,
        timing=Timing(0.0004, 0.0002, DECODE_S, 0.02, 0.0002),
        image=ImageHeader("JPEG", 500, 375, 50_000),
        budget_s=BUDGET_S,
        budget_met=True,
        warnings=(),
    )


def _images(photos: list[bytes]) -> Steps:
    """Each call takes the next photo."""
    checked, decoded, plain = (itertools.cycle(photos) for _ in range(3))
    return {
        "image: header check": lambda: image.read_header(next(checked), max_pixels=50_000_000),
        "image: decode and resize to 224 px": lambda: image.decode(next(decoded), INPUT),
        "image: the same by Pillow alone, at full scale": lambda: _plain_decode(next(plain)),
    }


def _plain_decode(body: bytes) -> Image.Image:
    """What the decoder is compared to: everything decoded, the whole image resized, the centre cut out."""
    size, target = INPUT.input_size_px, int(INPUT.input_size_px / INPUT.crop_pct)
    source = Image.open(io.BytesIO(body)).convert("RGB")
    scale = target / min(source.size)
    width, height = round(source.width * scale), round(source.height * scale)
    left, top = (width - size) // 2, (height - size) // 2
    resized = source.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + size, top + size))
