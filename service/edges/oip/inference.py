"""One request of the protocol, from tensors to tensors.

Each image of a batch is a job of its own in the queue, all with the same deadline. Either all of them are answered or
the request fails: with the first failure the others are given up.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from service.core.errors import EffserveError, ErrorKind
from service.core.messages import Answer, ClassifyRequest
from service.core.trace import Trace
from service.core.values import Question, Source
from service.dataplane import Dataplane
from service.edges.oip import outputs, tensors
from service.edges.oip.messages import InferRequest, InferResponse, Parameter, WantedOutput
from service.edges.oip.models import Model, Models
from service.edges.questions import (
    BUDGET_HEADER,
    MAX_BUDGET_MS,
    Defaults,
    PlanParameters,
    budget_of,
    checked,
    question,
    refusal,
)

ASIDE_BYTES = 65_536
"""More than this is converted on another thread, so that the event loop goes on."""
FINAL_ASKED, FINAL_TOLD = "triton_enable_empty_final_response", "triton_final_response"
PRIORITY = "priority"
PRIORITY_WARNING = f"{PRIORITY} has no effect: requests are served in the order of their deadlines"
RESERVED = frozenset({"timeout", PRIORITY, "binary_data_output", FINAL_ASKED})
"""Parameters of the protocol and its clients; all others are those of a question."""
NUMBERS = ("budget_ms", "min_accuracy")
TIMEOUT = f"a number of microseconds above 0 and up to {MAX_BUDGET_MS * 1e3:,.0f}"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a request beside its message."""

    protocol: str
    request_id: str
    started_s: float
    header_budget: str | None = None
    """As it was sent."""
    deadline_budget_ms: float | None = None
    """What the client's gRPC deadline leaves."""
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that can be run."""

    model: Model
    id: str
    parameters: Mapping[str, Parameter]
    question: Question
    images: Sequence[Source]
    outputs: Sequence[WantedOutput]


class Inference:
    """Answers requests on either protocol."""

    def __init__(
        self, dataplane: Dataplane, models: Callable[[], Models], *, defaults: Defaults, image_bytes: int
    ) -> None:
        """`models` gives those of now."""
        self._dataplane = dataplane
        self._models = models
        self._defaults = defaults
        self._image_bytes = image_bytes

    def holding(self) -> AbstractContextManager[None]:
        """A request that is asked, prepared and run inside meets the same models, whatever is loaded meanwhile."""
        return self._dataplane.holding()

    def ask(self, request: InferRequest, call: Call) -> tuple[Model, Question]:
        """Which model, and what is wanted of it. Raises `EffserveError`."""
        model = self._models().find(request.model, request.version)
        asked = checked(PlanParameters, _given(model, request.parameters, call))
        return model, question(asked, call.started_s, self._defaults)

    async def prepare(self, request: InferRequest, model: Model, asked: Question) -> Prepared:
        """Check and convert everything else. Raises `EffserveError`."""
        wanted = outputs.checked(request.outputs)
        if len(request.inputs) != 1:
            raise tensors.malformed(
                f"the request has {len(request.inputs)} inputs; the model has one, {tensors.INPUT!r}"
            )
        (tensor,) = request.inputs

        def convert() -> list[Source]:
            return tensors.images(tensor, size_px=model.size_px, batch=model.batch)

        # Files and levels are only cut apart.
        images = await aside(tensor.size_bytes if tensor.datatype == "FP32" else 0, convert)
        for number, image in enumerate(images):
            if isinstance(image, bytes) and len(image) > self._image_bytes:
                detail = (
                    f"{_numbered(number, len(images))} has {len(image)} bytes; the limit is {self._image_bytes} bytes"
                )
                raise EffserveError(ErrorKind.IMAGE_TOO_LARGE, detail, {"limit_bytes": self._image_bytes})
        return Prepared(model, request.id, request.parameters, asked, images, wanted)

    async def run(self, prepared: Prepared, call: Call) -> tuple[InferResponse, Sequence[Answer]]:
        """Classify all images. Failures raised here are known to the observer; cancelled when the caller is."""
        requests = [self._classify_request(prepared, call, number) for number in range(len(prepared.images))]
        answers = await self._all(requests)
        answered = outputs.tensors(answers, prepared.outputs)
        parameters = decision_parameters(answers)
        if prepared.parameters.get(PRIORITY):
            parameters["warnings"] = "; ".join(filter(None, (parameters.get("warnings"), PRIORITY_WARNING)))  # type: ignore[arg-type]
        if prepared.parameters.get(FINAL_ASKED):
            parameters[FINAL_TOLD] = True
        model = prepared.model
        return InferResponse(model.name, model.version, prepared.id, parameters, answered), answers

    def handed_over(self, prepared: Prepared, call: Call, answers: Sequence[Answer]) -> None:
        """The response's bytes are ready. Of a batch that is no measure: its answers have waited for one another."""
        if len(answers) == 1:
            self._dataplane.handed_over(self._classify_request(prepared, call, 0), answers[0])

    def _classify_request(self, prepared: Prepared, call: Call, number: int) -> ClassifyRequest:
        identity = call.request_id if len(prepared.images) == 1 else f"{call.request_id}-{number + 1}"
        trace = None if call.trace is None else call.trace.part(number)
        stored = prepared.model.stored
        named = None if stored is None else stored.variant()
        image, asked = prepared.images[number], prepared.question
        return ClassifyRequest(image, asked, identity, call.protocol, top_k=1, trace=trace, named=named)

    async def _all(self, requests: Sequence[ClassifyRequest]) -> list[Answer]:
        if len(requests) == 1:
            return [await self._dataplane.classify(requests[0])]
        try:
            async with asyncio.TaskGroup() as images:
                running = [
                    images.create_task(self._one(request, number, len(requests)))
                    for number, request in enumerate(requests)
                ]
        except* EffserveError as failures:
            first = failures.exceptions[0]
        else:
            return [one.result() for one in running]
        raise first

    async def _one(self, request: ClassifyRequest, number: int, count: int) -> Answer:
        try:
            return await self._dataplane.classify(request)
        except EffserveError as error:
            detail = f"{_numbered(number, count)}: {error.detail}"
            raise EffserveError(error.kind, detail, error.facts, error.retry_after_s) from error


async def aside(size_bytes: int, work: Callable[[], T]) -> T:
    """Do it here if it is little, else on another thread."""
    return work() if size_bytes <= ASIDE_BYTES else await asyncio.to_thread(work)


def decision_parameters(answers: Sequence[Answer]) -> dict[str, Parameter]:
    """The decision as parameters of the response: names by image with commas between, times of the slowest image."""
    timings = [answer.timing for answer in answers]
    parameters: dict[str, Parameter] = {
        "variant": ",".join(answer.decision.variant.name for answer in answers),
        "reason": ",".join(answer.decision.reason for answer in answers),
        "budget_ms": _ms(answers[0].budget_s),
        "budget_met": all(answer.budget_met for answer in answers),
        "queue_ms": _ms(max(timing.queue_s for timing in timings)),
        "decode_ms": _ms(max(timing.decode_s for timing in timings)),
        "inference_ms": _ms(max(timing.inference_s for timing in timings)),
        "total_ms": _ms(max(timing.total_s for timing in timings)),
    }
    warnings = dict.fromkeys(warning for answer in answers for warning in answer.warnings)
    return parameters | ({"warnings": "; ".join(warnings)} if warnings else {})


def _given(model: Model, parameters: Mapping[str, Parameter], call: Call) -> dict[str, object]:
    """Parameters of the question by name; the budget from wherever it was given."""
    _check(parameters)
    given: dict[str, object] = {name: value for name, value in parameters.items() if name not in RESERVED}
    if model.stored is not None and given.setdefault("variant", model.name) != model.name:
        detail = f"variant: the request is for model {model.name!r}, which is that variant and no other"
        raise EffserveError(ErrorKind.INVALID_PARAMETER, detail, {"parameter": "variant"})
    if "budget_ms" not in given:
        given["budget_ms"] = _budget_ms(parameters.get("timeout"), call)
    return given


def _check(parameters: Mapping[str, Parameter]) -> None:
    """What a query string cannot get wrong, but JSON and messages can. Raises `EffserveError(INVALID_PARAMETER)`."""
    for name in NUMBERS:
        if isinstance(parameters.get(name), bool):
            raise refusal(name, parameters[name], "a number")
    priority = parameters.get(PRIORITY, 0)
    if isinstance(priority, bool) or not isinstance(priority, int) or priority < 0:
        raise refusal(PRIORITY, priority, "a whole number from 0 on")


def _budget_ms(timeout_us: Parameter | None, call: Call) -> float | None:
    if call.header_budget is not None:
        return budget_of(call.header_budget, BUDGET_HEADER)
    # Triton's clients write 0 for none.
    if timeout_us is not None and timeout_us != 0:
        return _us_to_ms(timeout_us)
    return call.deadline_budget_ms


def _us_to_ms(timeout_us: Parameter) -> float:
    if isinstance(timeout_us, bool | str) or not 0 < timeout_us <= MAX_BUDGET_MS * 1e3:
        raise refusal("timeout", timeout_us, TIMEOUT)
    return timeout_us / 1e3


def _numbered(number: int, count: int) -> str:
    return "the image" if count == 1 else f"image {number + 1} of {count}"


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
