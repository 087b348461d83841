"""The data path. Read `Dataplane.classify`: header check, queue, lane, top-k, answer. Everything else is detail.

Edges give it a `ClassifyRequest` and get an `Answer` or an `EffserveError`; every outcome is told to the observer
once, under one name.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from service.core.catalogue import WANTED, Catalogue, wanted
from service.core.errors import EffserveError, ErrorKind, fault
from service.core.events import Observer, RequestAnswered, RequestFailed
from service.core.explanation import why_never
from service.core.latency import LatencyStatistics, VariantCost
from service.core.layout import Choice
from service.core.messages import Answer, ClassifyRequest, EntryState, Plan, RefusedVariant, StoreEntry, VariantRow
from service.core.policy import Policy
from service.core.scheduler import Scheduler, SchedulerStatistics
from service.core.trace import Attempt, Journey, Trace
from service.core.values import Absent, Deadline, ImageHeader, Job, Pixels, Question, Timing, Variant
from service.core.workers import ALONE, Place
from service.pipeline import image, response
from service.pipeline.lanes import Lanes, Served
from service.pipeline.store import StoredVariant

REFERENCE_IMAGE = ImageHeader(format="JPEG", width_px=500, height_px=400, size_bytes=50_000)
"""What plans and tables are computed for: a photo of 0.2 megapixels."""

NOTHING: Mapping[str, StoredVariant] = {}

UNTRAINED_WARNING = "variant {name} has untrained (seeded) weights: its predictions mean nothing"

TEMPERATURE_WARNING = (
    "variant {name} has no fitted temperature: it may be less sure, or surer, than it says; "
    "`effserve evaluate --write` fits one"
)


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes show."""

    ready: bool
    draining: bool
    variants: int
    refused: tuple[RefusedVariant, ...]
    statistics: SchedulerStatistics
    latency: LatencyStatistics
    choice: Choice
    """How many lanes with how many threads, and why."""
    loading: tuple[StoreEntry, ...] = ()
    """Variants that are being loaded."""
    place: Place = ALONE
    """Which of the service's workers this is."""


@dataclass(frozen=True, slots=True)
class Edition:
    """What is served from one moment on, all of it at once."""

    entries: Mapping[str, StoredVariant]
    policy: Policy
    costs: Mapping[str, VariantCost] = field(default_factory=dict)
    """Of variants that are new, or not what they were."""
    absent: Mapping[str, StoredVariant] = field(default_factory=dict)
    """What is known beside them, and not in memory."""


OnAnswer = Callable[[Answer], None]
"""Takes an answer before the last. Called on the event loop."""


class Dataplane:
    """One per process. Belongs to one event loop."""

    def __init__(
        self,
        *,
        entries: Mapping[str, StoredVariant],
        refused: Sequence[RefusedVariant],
        catalogue: Catalogue,
        scheduler: Scheduler,
        lanes: Lanes,
        choice: Choice,
        observer: Observer,
        clock: Callable[[], float],
        max_pixels: int,
        place: Place = ALONE,
        absent: Mapping[str, StoredVariant] = NOTHING,
        memory_bytes: Callable[[StoredVariant], int] = lambda entry: entry.manifest.graph_bytes,
    ) -> None:
        self._entries = entries
        self._absent = absent
        self._memory_bytes = memory_bytes
        self._stored = {variant: entries[variant.name] for variant in catalogue.variants}
        """What answers: what is served, and what requests in hand may still be answered by."""
        self._refused = tuple(refused)
        self._catalogue = catalogue
        self._scheduler = scheduler
        self._lanes = lanes
        self._choice = choice
        self._observer = observer
        self._clock = clock
        self._max_pixels = max_pixels
        self._place = place
        self._job_ids = itertools.count(1)
        self._answers = Counter[str]()
        self.ready = False
        self.draining = False
        self.cutting = False
        self.loading: tuple[StoreEntry, ...] = ()
        """Variants that are being loaded, as `Health` shows them."""

    def __repr__(self) -> str:
        return f"<Dataplane ready={self.ready} draining={self.draining} {self._scheduler!r}>"

    async def classify(self, request: ClassifyRequest, on_answer: OnAnswer | None = None) -> Answer:
        """Answer one image; `on_answer` gets each answer that a better one may follow, where the decision insures.

        Raises `EffserveError`, or `asyncio.CancelledError` when the client went away.
        """
        with self._lanes.grace.inside():
            return await self._classify(request, on_answer)

    async def _classify(self, request: ClassifyRequest, on_answer: OnAnswer | None) -> Answer:
        started_s = request.question.deadline.started_s
        attempts: list[Attempt] = []
        try:
            header = image.read_header(request.body, max_pixels=self._max_pixels)
            job = self._job(request, header)
            received_s = self._clock()

            def answer_with(served: Served, *, final: bool) -> Answer:
                return self._answer(request, header, received_s, served, final=final)

            def earlier(served: Served) -> None:
                if on_answer is not None:
                    on_answer(answer_with(served, final=False))

            answer = answer_with(await self._lanes.run(job, request.body, earlier, attempts.append), final=True)
        except BaseException as error:
            failure = _named(error, cut=self.cutting)
            asked, journey = request.question, _journey(request.trace, started_s, attempts)
            self._fail(request.protocol, request.request_id, failure, asked.deadline, started_s, asked.variant, journey)
            if failure is error or isinstance(error, asyncio.CancelledError):
                raise
            raise failure from error
        self._answers[answer.decision.variant.name] += 1
        # Told after the answer is on its way: counting and logging it takes longer than sending it.
        journey = _journey(request.trace, started_s, attempts)
        asyncio.get_running_loop().call_soon(self._tell, request, answer, job, received_s, journey)
        return answer

    def handed_over(self, request: ClassifyRequest, answer: Answer) -> None:
        """An edge has the last answer's bytes ready. From lane to here is what later budgets keep in reserve; the
        answer itself cannot tell the last part of it. Time in hand is not counted: that was not for the response."""
        answered_s = request.question.deadline.started_s + answer.timing.total_s
        respond_s = answer.timing.respond_s + self._clock() - answered_s
        with self._lanes.books:
            self._scheduler.latency.observe_respond(respond_s)

    def plan(self, question: Question) -> Plan:
        """What a request with the reference image would get now. Raises `EffserveError`."""
        with self._lanes.books:
            decode_s = self._scheduler.latency.expected_decode_s(REFERENCE_IMAGE)
            try:
                return self._scheduler.plan(self._clock(), question, decode_s)
            except EffserveError as error:
                # Who only asks wants nothing loaded.
                error.facts.pop(WANTED, None)
                raise

    def variants(self) -> tuple[VariantRow, ...]:
        """The live accuracy/latency/cost table, cheapest first."""
        with self._lanes.books:
            front = {variant.name for variant in self._catalogue.front(self._scheduler.latency)}
            rows = [self._row(variant, front) for variant in self._catalogue.known()]
        return tuple(sorted(rows, key=lambda row: row.expected_ms))

    def variant(self, name: str) -> VariantRow:
        """One line of the table. Raises `EffserveError(UNKNOWN_VARIANT)`."""
        absent = self.not_resident(name)
        with self._lanes.books:
            front = {variant.name for variant in self._catalogue.front(self._scheduler.latency)}
            return self._row(self._catalogue.named(name) if absent is None else absent.variant, front)

    def refused(self) -> tuple[RefusedVariant, ...]:
        """Store entries that are not served, with the reason."""
        return self._refused

    def known(self) -> Iterator[StoreEntry]:
        """Versions that are served, refused, or being loaded."""
        loading = {(one.name, one.version) for one in self.loading}
        refused = {(one.name, one.version): one.reason for one in self._refused}
        served = {(name, str(entry.manifest.version)) for name, entry in self._entries.items()}
        state = EntryState.READY if self.ready else EntryState.UNAVAILABLE
        yield from self.loading
        for version in sorted(served):
            yield StoreEntry(*version, state, refused.get(version, ""))
        for version in sorted(refused.keys() - served - loading):
            yield StoreEntry(*version, EntryState.UNAVAILABLE, refused[version])
        absent = {(name, str(entry.manifest.version)): entry for name, entry in self._absent.items()}
        for version in sorted(absent.keys() - served - loading - refused.keys()):
            yield StoreEntry(*version, EntryState.UNAVAILABLE, self.not_routed(absent[version].variant()))

    def absent(self) -> Mapping[str, StoredVariant]:
        """What is known and not in memory, by name."""
        return self._absent

    def not_resident(self, name: str) -> Absent | None:
        """What is known of a variant that is not in memory; None for all others."""
        return next((one for one in self._catalogue.absent if one.variant.name == name), None)

    def served(self) -> Mapping[str, StoredVariant]:
        """What is resident, by name."""
        return self._entries

    def routed(self) -> tuple[Variant, ...]:
        """The variants that a budget can choose, of which those on the Pareto front are."""
        return self._catalogue.routed()

    def not_routed(self, variant: Variant) -> str:
        """Why no budget can choose a variant that is served; empty when one can."""
        with self._lanes.books:
            return why_never(self._catalogue, variant, self._scheduler.latency)

    def adopt(self, edition: Edition, on_gone: Callable[[], None]) -> None:
        """From now on this is served. Who named what it does not have, and came before, is answered by that.

        `on_gone` is called when nobody needs that any more. No other edition may be adopted before.
        """
        with self._lanes.books:
            for name, cost in edition.costs.items():
                self._scheduler.latency.learn(name, cost)
            before = self._expected()
            self._entries, self._absent, self._catalogue = edition.entries, edition.absent, edition.policy.catalogue
            self._stored |= {variant: edition.entries[variant.name] for variant in self._catalogue.variants}
            now = self._expected()
            self._lanes.adopt(edition.policy, None if now == before else now[1])
        loop = asyncio.get_running_loop()
        # After the last request has been told of.
        self._lanes.grace.when_gone(lambda: loop.call_soon(self._forget, on_gone))

    def holding(self) -> AbstractContextManager[None]:
        """What is served when this begins can be asked for, by `ClassifyRequest.named`, until it ends."""
        return self._lanes.grace.inside()

    def refuse(self, refused: Iterable[RefusedVariant]) -> None:
        """From now on these store entries are shown as not served."""
        self._refused = tuple(refused)

    def stored(self, variant: Variant) -> StoredVariant:
        """What answers, or did for a request that is in hand. Raises `KeyError`."""
        return self._stored[variant]

    def calibrated(self, name: str) -> VariantCost:
        """What calibration found for a variant that is served."""
        with self._lanes.books:
            return self._scheduler.latency.calibrated(name)

    def failed(
        self,
        *,
        protocol: str,
        request_id: str,
        error: EffserveError,
        deadline: Deadline | None,
        started_s: float,
        variant: str | None = None,
        trace: Trace | None = None,
    ) -> None:
        """An edge reports a request that failed before it reached `classify`."""
        self._fail(protocol, request_id, error, deadline, started_s, variant, _journey(trace, started_s))

    def health(self) -> Health:
        """Readiness, refused store entries and live counts."""
        with self._lanes.books:
            statistics, latency = self._scheduler.statistics(self._clock()), self._scheduler.latency.statistics()
        return Health(
            ready=self.ready,
            draining=self.draining,
            variants=len(self._entries),
            refused=self._refused,
            loading=self.loading,
            statistics=statistics,
            latency=latency,
            choice=self._choice,
            place=self._place,
        )

    def _tell(
        self, request: ClassifyRequest, answer: Answer, job: Job, received_s: float, journey: Journey | None
    ) -> None:
        with self._lanes.books:
            alone = self._scheduler.alone(received_s, job)
        self._observer.observe(RequestAnswered(request.protocol, answer, answer.image.size_bytes, alone, journey))

    def _job(self, request: ClassifyRequest, header: ImageHeader) -> Job:
        prepared = isinstance(request.body, Pixels) and request.body.prepared
        named = self._named(request)
        with self._lanes.books:
            decode_s = 0.0 if prepared else self._scheduler.latency.expected_decode_s(header)
        return Job(next(self._job_ids), request.question, decode_s, header.format, named=named)

    def _named(self, request: ClassifyRequest) -> Variant | None:
        """What the request's variant means now, or meant to the edge. Raises `EffserveError`."""
        name, meant = request.question.variant, request.named
        return self._catalogue.named(name) if name is not None and meant is None else meant

    def _expected(self) -> tuple[Variant, Sequence[float]]:
        """Who gives first answers, and how sure they were in its evaluation."""
        cheapest = self._catalogue.front(self._scheduler.latency)[-1]
        return cheapest, self._stored[cheapest].manifest.accuracy.confidences or ()

    def _forget(self, on_gone: Callable[[], None]) -> None:
        """Nobody needs what is not served any more."""
        for variant in [variant for variant in self._stored if variant not in self._catalogue.variants]:
            del self._stored[variant]
            if variant.name not in self._entries and variant.name not in self._absent:
                with self._lanes.books:
                    self._scheduler.latency.drop(variant.name)
        on_gone()

    def _members(self, request: ClassifyRequest, served: Served) -> list[Served]:
        """The answers that are averaged, first run first: of a cascade, those of the same classes as the last."""
        labels = self._stored[served.decision.variant].labels
        earlier = served.earlier if request.question.cascades else None
        fits = earlier is not None and self._stored[earlier.decision.variant].labels == labels
        return [earlier, served] if earlier is not None and fits else [served]

    def _answer(
        self, request: ClassifyRequest, header: ImageHeader, received_s: float, served: Served, *, final: bool
    ) -> Answer:
        members = self._members(request, served)
        logits = self._logits(request, members)
        labels = self._stored[served.decision.variant].labels
        predictions = response.top_k(logits, request.top_k, labels)
        ended_s = self._clock()
        timing = _timing(request.question.deadline.started_s, received_s, served, ended_s)
        return Answer(
            request_id=request.request_id,
            predictions=predictions,
            decision=served.decision,
            timing=timing,
            image=header,
            budget_s=request.question.deadline.budget_s,
            budget_met=ended_s <= request.question.deadline.at_s,
            warnings=tuple(self._warnings(request, members)),
            final=final,
            members=tuple(member.decision.variant.name for member in members),
            logits=logits.astype(np.float32, copy=False).tobytes(),
            labels=labels,
        )

    def _logits(self, request: ClassifyRequest, members: Sequence[Served]) -> npt.NDArray[np.floating[Any]]:
        """Of a cascade, those of the mean of the probabilities at each one's temperature; else the network's own."""
        if not request.question.cascades:
            return members[-1].run.logits
        entries = [self._stored[member.decision.variant] for member in members]
        fitted = ((member.run.logits, entry.temperature) for member, entry in zip(members, entries, strict=True))
        return response.averaged(fitted)

    def _warnings(self, request: ClassifyRequest, members: Sequence[Served]) -> Iterator[str]:
        for member in members:
            variant = member.decision.variant
            if not variant.trained:
                yield UNTRAINED_WARNING.format(name=variant.name)
            if request.question.cascades and self._stored[variant].manifest.accuracy.temperature is None:
                yield TEMPERATURE_WARNING.format(name=variant.name)

    def _row(self, variant: Variant, front: set[str]) -> VariantRow:
        latency = self._scheduler.latency
        decode_s = latency.expected_decode_s(REFERENCE_IMAGE)
        resident = variant.name in self._entries
        stored = (self._entries if resident else self._absent)[variant.name]
        manifest = stored.manifest
        not_routed = self.not_routed(variant)
        return VariantRow(
            variant=variant,
            expected_ms=latency.expected_s(variant.name, decode_s) * 1e3,
            tail_ms=latency.tail_s(variant.name, decode_s) * 1e3,
            pareto=variant.name in front,
            routed=not not_routed,
            not_routed=not_routed,
            params=manifest.params,
            macs=manifest.macs,
            input_size_px=manifest.preprocessing.input_size_px,
            graph_bytes=manifest.graph_bytes,
            resident=resident,
            memory_bytes=self._memory_bytes(stored),
            top1=manifest.accuracy.top1,
            top5=manifest.accuracy.top5,
            accuracy_source=manifest.accuracy.source,
            accuracy_dataset=manifest.accuracy.dataset,
            weights_kind=manifest.weights.kind,
            weights_source=manifest.weights.source,
            weights_licence=manifest.weights.licence,
            answers=self._answers[variant.name],
        )

    def _fail(
        self,
        protocol: str,
        request_id: str,
        error: EffserveError,
        deadline: Deadline | None,
        started_s: float,
        variant: str | None,
        journey: Journey | None,
    ) -> None:
        self._observer.observe(
            RequestFailed(
                protocol=protocol,
                request_id=request_id,
                kind=error.kind,
                detail=error.detail,
                total_s=self._clock() - started_s,
                budget_s=None if deadline is None else deadline.budget_s,
                cause=error.__cause__ if error.kind is ErrorKind.INTERNAL else None,
                variant=variant,
                wanted=wanted(error),
                journey=journey,
            )
        )


def _journey(trace: Trace | None, started_s: float, attempts: Sequence[Attempt] = ()) -> Journey | None:
    return None if trace is None else Journey(trace, started_s, tuple(attempts))


def _timing(started_s: float, received_s: float, served: Served, ended_s: float) -> Timing:
    """Stages that add up. Handing a job to its lane's thread counts as waiting."""
    run = served.run
    return Timing(
        receive_s=received_s - started_s,
        queue_s=run.started_s - received_s,
        decode_s=run.decode_s,
        inference_s=run.inference_s,
        hold_s=served.hold_s,
        respond_s=ended_s - run.started_s - run.decode_s - run.inference_s - served.hold_s,
    )


def _named(error: BaseException, *, cut: bool) -> EffserveError:
    """The named failure behind an exception; anything unforeseen is a fault of ours, with its cause kept."""
    if isinstance(error, EffserveError):
        return error
    if isinstance(error, asyncio.CancelledError):
        if cut:
            return EffserveError(ErrorKind.DRAINING, "cut off: the service shut down before it was answered")
        return EffserveError(ErrorKind.CANCELLED, "the client went away")
    return fault(error)
