"""How long will this image take on that variant? A pooled-ratio conformal window.

The model keeps a base time per variant (from calibration) and per image format, one global slow-down factor, and
one window of ratios actual ÷ predicted pooled over *all* variants. The upper quantile of that window, times the
base, bounds the next run with the wanted coverage: split conformal prediction. Pooling is the point. A rarely
chosen B7 profits from a thousand runs of B0, and when a neighbour takes half the machine, nine runs of anything
tell it about all variants. The slow-down idea is ALERT's (Wan et al., USENIX ATC 2020), with a median in place of
the Kalman filter; the order statistic is split conformal's (Vovk). What the bounds missed feeds back, see `coverage`.

A lone run may be quicker than one among others: they share caches, memory and, on some machines, cores. Where
calibration found the two more than a tenth apart, a prediction depends on how many lanes are at work when the run
begins, on the line between one and all, and both ends follow what runs take.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median

from service.core.coverage import Guard, OwnTail
from service.core.quantile import SlidingQuantile
from service.core.state import Costs
from service.core.values import ImageHeader

WINDOW = 600
"""Ratios kept: enough for a stable 99 % quantile, few enough to forget in seconds under load."""
SLOWDOWN_WINDOW = 9
"""Runs whose median is the slow-down: reacts within five runs, ignores four outliers."""
UNKNOWN_TAIL_FACTOR = 1.5
"""Applied to the largest ratio seen while there are too few for the wanted quantile."""
ENOUGH = 120
"""Ratios below which none of calibration's is given up: a 99 % bound needs 99."""
RATIO_CLIP = (0.01, 5.0)
"""A suspended machine or a coarse clock is no news about the next run: single ratios are cut to this range."""
DECODE_TRUST = 3.0
"""A run whose decoding took more than this many times what was expected, or less than its inverse, tells about its
image and not about the machine: it leaves the window alone."""
MOST_RESPOND_S = 0.02
"""A stall of the event loop is no habit: longer responses count as this long, and so do longer hand-overs."""
BASE_STEP = 1.01
"""A base follows its median by 1 % a run, and never leaves half to double of what calibration found."""
OTHERS = 3
"""Runs of other variants, among the latest, from which a base can be told from the slow-down."""
BASE_CLIP = (0.5, 2.0)
"""A base is never taken for less or more than so many times what calibration found."""
LEVELS_APART = 1.1
"""A variant's times alone and among others count as one when they differ by less than this factor."""
RESPOND_WINDOW = 200
"""Answers whose way to the response is kept."""
RESPOND_PRIOR_S = 0.0005
"""Assumed time from lane to response before the first one was measured."""
DISPATCH_WINDOW = 200
"""Runs whose hand-over is kept."""


@dataclass(frozen=True, slots=True)
class DecodeCost:
    """Expected time to decode and resize one image of a format: a fixed part and one that grows with the source.

    Beyond the knee the growth is another: large JPEGs are decoded at a reduced scale.
    """

    fixed_s: float
    per_megapixel_s: float
    knee_megapixels: float = 1e9
    per_megapixel_beyond_s: float = 0.0

    def expected_s(self, megapixels: float) -> float:
        """Seconds for a source of `megapixels` million pixels."""
        before, beyond = min(megapixels, self.knee_megapixels), max(megapixels - self.knee_megapixels, 0.0)
        return self.fixed_s + self.per_megapixel_s * before + self.per_megapixel_beyond_s * beyond


@dataclass(frozen=True, slots=True)
class Observation:
    """What one run on a lane took, beside what had been expected of it."""

    variant: str
    image_format: str
    expected_decode_s: float
    decode_s: float
    inference_s: float
    confidence: float = 0.0
    """How sure the answer is, from 0 to 1; 0 where nobody asks."""

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.decode_s + self.inference_s


@dataclass(frozen=True, slots=True)
class Calibration:
    """What start-up measured: the state a latency model begins with."""

    inference_s: Mapping[str, float]
    """Median seconds per variant, all lanes busy."""
    decode: Mapping[str, DecodeCost]
    """Per image format."""
    ratios: tuple[float, ...] = ()
    """Single runs divided by their variant's median; they fill the window."""
    terminate_s: float | None = None
    """Time within which a terminated run stops, at worst; None where runs cannot be terminated."""
    alone_s: Mapping[str, float] = field(default_factory=dict)
    """Median seconds per variant with no other lane at work, where that was measured."""
    lanes: int = 1
    """How many were at work for `inference_s`."""


@dataclass(frozen=True, slots=True)
class VariantCost:
    """What is known of a variant that is loaded while others are served."""

    inference_s: float
    """As in `Calibration`, and so is the rest."""
    alone_s: float | None = None
    terminate_s: float | None = None
    """None where it was not measured."""


@dataclass(frozen=True, slots=True)
class LatencyStatistics:
    """How well predictions hold; metrics and `__repr__` read the same figures."""

    slowdown: float
    """How much slower the machine runs now than at calibration, over all variants."""
    tail: float
    """Bound of the ratios actual ÷ expected."""
    miss_rate: float
    """Asked of the window now, so that the wanted one comes out."""
    coverage: Mapping[str, float]
    """Share of a variant's recent runs that kept their bound, for those that ran."""
    runs: int
    """In the window."""
    dispatch_s: float = 0.0
    """Mean time that runs keep their lane beside running."""


class LatencyModel:
    """Predicts decode + inference time per variant and image; learns from each run.

    `miss_rate` is the share of runs allowed above `tail_s` (0.01: the tail is a p99). All times are in seconds.
    """

    def __init__(self, calibration: Calibration, *, miss_rate: float = 0.01, window: int = WINDOW) -> None:
        self._calibration = calibration
        self._miss_rate = miss_rate
        self._window = window
        self._changes = 0
        self._levels = [_AtLevel(self, busy) for busy in range(1, calibration.lanes + 1)]
        self.forget()

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<LatencyModel slowdown={now.slowdown:.3f} tail={now.tail:.3f} miss_rate={now.miss_rate:.4f} "
            f"runs={now.runs}>"
        )

    def forget(self) -> None:
        """Back to what calibration found. Called when what is known is old and would refuse a request."""
        self._inference = dict(self._calibration.inference_s)
        self._alone = _apart(self._calibration)
        self._decode_factor = dict.fromkeys(self._calibration.decode, 1.0)
        self._ratios = SlidingQuantile(self._window, map(_clipped, self._calibration.ratios))
        self._calibrated_left = len(self._ratios)
        self._slowdowns: deque[tuple[str, bool, float]] = deque(maxlen=SLOWDOWN_WINDOW)
        self._guard = Guard(self._miss_rate)
        self._own = {variant: OwnTail(self._miss_rate) for variant in self._inference}
        self._responds = SlidingQuantile(RESPOND_WINDOW)
        self._respond = self._expected_respond = RESPOND_PRIOR_S
        self._dispatches = SlidingQuantile(DISPATCH_WINDOW)
        self._dispatch = 0.0
        self._refresh()

    def learn(self, variant: str, cost: VariantCost) -> None:
        """A variant is new, or is another one than before. What the others have shown of the machine holds for it."""
        known = self._without(variant)
        alone_s = {} if cost.alone_s is None else {variant: cost.alone_s}
        self._calibration = replace(
            known,
            inference_s={**known.inference_s, variant: cost.inference_s},
            alone_s={**known.alone_s, **alone_s},
            terminate_s=_slower(known.terminate_s, cost.terminate_s),
        )
        self._take_over(variant)

    def drop(self, variant: str) -> None:
        """Nothing will be asked about a variant any more."""
        self._calibration = self._without(variant)
        self._take_over(variant)

    def _without(self, variant: str) -> Calibration:
        known = self._calibration
        inference_s = {name: base_s for name, base_s in known.inference_s.items() if name != variant}
        return replace(
            known,
            inference_s=inference_s,
            alone_s={name: base_s for name, base_s in known.alone_s.items() if name != variant},
        )

    def _take_over(self, variant: str) -> None:
        """What calibration says of one variant now."""
        for kept in (self._inference, self._alone, self._own):
            kept.pop(variant, None)
        if variant in self._calibration.inference_s:
            self._inference[variant] = self._calibration.inference_s[variant]
            self._own[variant] = OwnTail(self._miss_rate)
            self._alone |= {name: alone_s for name, alone_s in _apart(self._calibration).items() if name == variant}
        self._refresh()

    def calibrated(self, variant: str) -> VariantCost:
        """What calibration found for a variant. Raises `KeyError`."""
        known = self._calibration
        return VariantCost(known.inference_s[variant], known.alone_s.get(variant), known.terminate_s)

    def statistics(self) -> LatencyStatistics:
        """How well predictions hold."""
        coverage = {variant: own.coverage() for variant, own in self._own.items()}
        known = {variant: share for variant, share in coverage.items() if share is not None}
        return LatencyStatistics(
            self._slowdown, self._tail, self._guard.miss_rate, known, len(self._ratios), self._dispatch
        )

    def at(self, busy: int) -> Costs:
        """Predictions for runs that begin with so many lanes at work, their own among them."""
        return self._levels[min(busy, self._calibration.lanes) - 1] if self._alone else self

    @property
    def changes(self) -> int:
        """See `Costs.changes`."""
        return self._changes

    def expected_decode_s(self, header: ImageHeader) -> float:
        """Expected decode + resize time of an image, from its header alone. Raises `KeyError` for unknown formats."""
        return (
            self._calibration.decode[header.format].expected_s(header.megapixels) * self._decode_factor[header.format]
        )

    def expected_s(self, variant: str, decode_s: float, busy: int | None = None) -> float:
        """Mean service time of `variant` on an image that takes `decode_s` to decode; `busy` None: all lanes."""
        return (self._inference_s(variant, busy) + decode_s) * self._slowdown_and_mean

    def tail_s(self, variant: str, decode_s: float, busy: int | None = None) -> float:
        """The time within which all but `miss_rate` of such runs finish."""
        return (self._inference_s(variant, busy) + decode_s) * self._slowdown_and_tail * self._own[variant].correction

    def respond_s(self) -> float:
        """Upper quantile of the time from lane to response: kept in reserve from each budget."""
        return self._respond

    def expected_respond_s(self) -> float:
        """Mean of it, for who asks whether there is hope."""
        return self._expected_respond

    def dispatch_s(self) -> float:
        """See `Costs.dispatch_s`; none before the first run."""
        return self._dispatch

    def terminate_s(self) -> float | None:
        """Time within which a terminated run stops; None where runs cannot be terminated."""
        return self._calibration.terminate_s

    def observe(self, run: Observation, *, busy: int | None = None, tail_s: float | None = None) -> None:
        """Learn from one run. When it began, `busy` lanes were at work (None: all) and `tail_s` was its bound (None: as
        it is now)."""
        base_s = self._inference_s(run.variant, busy)
        # The slow-down follows inference alone: how long an image decodes depends on the image, too.
        slower = _clipped(run.inference_s / base_s)
        if _is_usual(run, slower):
            bound_s = self.tail_s(run.variant, run.expected_decode_s, busy) if tail_s is None else tail_s
            ratio = _clipped(run.seconds / ((base_s + run.expected_decode_s) * self._slowdown))
            self._guard.observe(missed=run.seconds > bound_s)
            self._own[run.variant].observe(ratio / self._tail, missed=run.seconds > bound_s)
            self._take_in(ratio)
        self._track(run, slower, busy)
        self._refresh()

    def observe_respond(self, respond_s: float) -> None:
        """Learn from the way from a lane to the response of one request."""
        self._responds.add(min(respond_s, MOST_RESPOND_S))
        upper = self._responds.upper(self._miss_rate)
        self._respond = self._responds.largest(RESPOND_PRIOR_S) if upper is None else upper
        self._expected_respond = min(self._responds.mean(), self._respond)

    def observe_dispatch(self, dispatch_s: float) -> None:
        """Learn from how much longer a run kept its lane than it took."""
        self._dispatches.add(min(max(dispatch_s, 0.0), MOST_RESPOND_S))
        self._dispatch = self._dispatches.mean()
        self._changes += 1

    def _take_in(self, ratio: float) -> None:
        """A live run displaces one of calibration, as long as enough are left for the quantile."""
        self._ratios.add(ratio)
        if self._calibrated_left and len(self._ratios) > ENOUGH:
            self._ratios.drop_oldest()
            self._calibrated_left -= 1

    def _inference_s(self, variant: str, busy: int | None) -> float:
        """The base of a variant with so many lanes at work: on the line between one and all of them."""
        busy_s, alone_s, lanes = self._inference[variant], self._alone.get(variant), self._calibration.lanes
        if busy is None or alone_s is None or busy >= lanes:
            return busy_s
        return busy_s + (alone_s - busy_s) * (lanes - busy) / (lanes - 1)

    def _track(self, run: Observation, slower: float, busy: int | None) -> None:
        """Beside the slow-down that other variants show: where only one runs lately, a slow machine and a dear variant
        look the same, and a base that followed its own slow-down would wander until a cheaper variant looked dearer.
        A base for one lane at work is told from the one for all by runs of the same variant, too."""
        alone = busy == 1
        others = [
            ratio for name, was_alone, ratio in self._slowdowns if name != run.variant or (alone and not was_alone)
        ]
        if len(others) >= OTHERS:
            self._track_bases(run, busy, up=slower > median(others))
        self._slowdowns.append((run.variant, alone, slower))
        if run.expected_decode_s > 0:
            longer = run.decode_s > run.expected_decode_s * self._slowdown
            factor = self._decode_factor[run.image_format]
            self._decode_factor[run.image_format] = _tracked(factor, up=longer, known=1.0)

    def _track_bases(self, run: Observation, busy: int | None, *, up: bool) -> None:
        """Of both levels where the run began between them."""
        name, known = run.variant, self._calibration
        if busy != 1 or name not in self._alone:
            self._inference[name] = _tracked(self._inference[name], up=up, known=known.inference_s[name])
        if name in self._alone and busy is not None and busy < known.lanes:
            self._alone[name] = _tracked(self._alone[name], up=up, known=known.alone_s[name])

    def _refresh(self) -> None:
        self._slowdown = (
            median(ratio for _, _, ratio in self._slowdowns) if len(self._slowdowns) == SLOWDOWN_WINDOW else 1.0
        )
        mean = self._ratios.mean() if len(self._ratios) else 1.0
        self._tail = self._bound()
        self._slowdown_and_mean, self._slowdown_and_tail = self._slowdown * mean, self._slowdown * self._tail
        self._changes += 1

    def _bound(self) -> float:
        """The quantile that the guard asks for. Asked for more than the window can tell, it is the largest ratio."""
        upper = self._ratios.upper(self._guard.miss_rate)
        if upper is not None:
            return upper
        known = self._ratios.upper(self._miss_rate) is not None
        return self._ratios.largest(1.0) * (1.0 if known else UNKNOWN_TAIL_FACTOR)


@dataclass(frozen=True, slots=True)
class _AtLevel:
    """The model's predictions with so many lanes at work."""

    model: LatencyModel
    busy: int

    @property
    def changes(self) -> int:
        return self.model.changes

    def expected_s(self, variant: str, decode_s: float) -> float:
        return self.model.expected_s(variant, decode_s, self.busy)

    def tail_s(self, variant: str, decode_s: float) -> float:
        return self.model.tail_s(variant, decode_s, self.busy)

    def respond_s(self) -> float:
        return self.model.respond_s()

    def expected_respond_s(self) -> float:
        return self.model.expected_respond_s()

    def dispatch_s(self) -> float:
        return self.model.dispatch_s()

    def terminate_s(self) -> float | None:
        return self.model.terminate_s()


def _slower(known_s: float | None, new_s: float | None) -> float | None:
    """The time to stop of all runs; where there is none for the others, there is none."""
    return known_s if known_s is None or new_s is None else max(known_s, new_s)


def _apart(calibration: Calibration) -> dict[str, float]:
    """What variants take without others at work, where that is worth telling apart.

    One that measured slower alone was disturbed.
    """
    alone_s = calibration.alone_s.items() if calibration.lanes > 1 else ()
    return {name: seconds for name, seconds in alone_s if calibration.inference_s[name] > LEVELS_APART * seconds}


def _is_usual(run: Observation, slower: float) -> bool:
    """Whether a run tells about the machine; see `DECODE_TRUST`."""
    decoding = run.decode_s / max(run.expected_decode_s * slower, 1e-9)
    return run.expected_decode_s == 0 or 1 / DECODE_TRUST <= decoding <= DECODE_TRUST


def _clipped(ratio: float) -> float:
    return min(max(ratio, RATIO_CLIP[0]), RATIO_CLIP[1])


def _tracked(value: float, *, up: bool, known: float) -> float:
    """One step of a multiplicative median tracker (a 1 % move, whatever the distance, so outliers cannot pull)."""
    moved = value * BASE_STEP if up else value / BASE_STEP
    return min(max(moved, known * BASE_CLIP[0]), known * BASE_CLIP[1])
