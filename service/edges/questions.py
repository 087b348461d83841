"""The parameters of a request, the same on both protocols: one model checks them, one function asks the question.

An edge hands in what it was given, as plain values by name, and the clock reading of the request's first byte.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.core.errors import EffserveError, ErrorKind
from service.core.values import Deadline, Mode, PolicyName, Question

MAX_BUDGET_MS = 600_000.0
"""Ten minutes: far above what any variant takes; larger values are mistakes of unit."""
LEAST_BUDGET_MS = 0.001
"""A deadline that has passed is a budget of nearly nothing, not an invalid one."""
BUDGET_HEADER = "X-Latency-Budget-Ms"
MAX_TOP_K = 1_000
MAX_NAME = 64
_BUDGET = f"a number of milliseconds above 0 and up to {MAX_BUDGET_MS:,.0f}"
WANTED = {
    "budget_ms": _BUDGET,
    BUDGET_HEADER: _BUDGET,
    "variant": f"a name of at most {MAX_NAME} characters",
    "min_accuracy": "a fraction from 0 to 1",
    "mode": " or ".join(Mode),
    "policy": " or ".join(PolicyName),
    "top_k": f"a whole number from 1 to {MAX_TOP_K:,}",
    "explain": "true or false",
}
"""What a value should be, by parameter: refusals say the same on all protocols, whichever library found the fault."""
SHOWN = 40
"""Characters of a wrong value in its refusal."""


class PlanParameters(BaseModel):
    """What can be asked of the router."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    budget_ms: float | None = Field(
        None,
        gt=0,
        le=MAX_BUDGET_MS,
        allow_inf_nan=False,
        description="Latency budget in milliseconds, from the first byte of the request to the response.",
        examples=[50],
    )
    variant: str | None = Field(
        None,
        max_length=MAX_NAME,
        description="Exactly this variant; the budget then only orders the queue and is judged.",
    )
    min_accuracy: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The cheapest variant whose expected top-1, a fraction of 1, is at least this.",
    )
    mode: Mode | None = Field(
        None, description="What to do when no variant fits: `best_effort` answers late, `strict` refuses."
    )
    policy: PolicyName | None = Field(
        None,
        description="How the budget is spent: `k1` on one run of the best variant it buys (while many requests are "
        "lost to load, as `p2`), `p2` on the cheapest first, whose answer is kept, and then on something better in "
        "time that nobody else needs, `p3` likewise, but only where the first answer is among the least confident, "
        "and then both answer together.",
    )


class ClassifyParameters(PlanParameters):
    """What can be asked about one image."""

    top_k: int = Field(5, ge=1, le=MAX_TOP_K, description="How many classes to return.")
    explain: bool = Field(False, description="List every variant with its expected cost and why it was not chosen.")


P = TypeVar("P", bound=PlanParameters)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request gets that does not say."""

    budget_ms: float = 100.0
    mode: Mode = Mode.BEST_EFFORT
    policy: PolicyName = PolicyName.K1


def checked(model: type[P], given: Mapping[str, object]) -> P:
    """Parameters of one request. Raises `EffserveError(INVALID_PARAMETER)` naming the first that is wrong."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid_parameter(error.errors()[0], model) from None


def refuse_repeated(names: Iterable[str]) -> None:
    """Which of two values is meant would be a guess. Raises `EffserveError(INVALID_PARAMETER)` naming the parameter."""
    repeated = next((name for name, times in Counter(names).items() if times > 1), None)
    if repeated is not None:
        detail = f"{repeated} is given more than once; it takes one value"
        raise EffserveError(ErrorKind.INVALID_PARAMETER, detail, {"parameter": repeated})


def budget_of(value: object, name: str) -> float | None:
    """Milliseconds of a budget that came under another name. Raises `EffserveError(INVALID_PARAMETER)` naming that."""
    try:
        return checked(PlanParameters, {"budget_ms": value}).budget_ms
    except EffserveError as error:
        raise EffserveError(error.kind, error.detail.replace("budget_ms", name, 1), {"parameter": name}) from None


def budget_of_deadline(time_left_s: float | None) -> float | None:
    """The budget in a gRPC deadline; None when there is none, or one of days, by which clients mean none."""
    if time_left_s is None or time_left_s * 1e3 > MAX_BUDGET_MS:
        return None
    return max(time_left_s * 1e3, LEAST_BUDGET_MS)


def question(asked: PlanParameters, started_s: float, defaults: Defaults) -> Question:
    """What the dataplane is asked. Raises `EffserveError(INVALID_PARAMETER)` for a contradiction."""
    if asked.variant is not None and asked.min_accuracy is not None:
        detail = "variant and min_accuracy exclude each other: the first names a network, the second asks for one"
        raise EffserveError(ErrorKind.INVALID_PARAMETER, detail, {"parameter": "min_accuracy"})
    budget_ms = defaults.budget_ms if asked.budget_ms is None else asked.budget_ms
    deadline = Deadline(started_s, budget_ms / 1e3)
    explain = asked.explain if isinstance(asked, ClassifyParameters) else True
    return Question(
        deadline,
        asked.mode or defaults.mode,
        asked.variant,
        asked.min_accuracy,
        explain,
        asked.policy or defaults.policy,
    )


def insured(asked: P) -> P:
    """The same by a policy that answers early. Raises `EffserveError(INVALID_PARAMETER)` when another one is named."""
    policy = asked.policy or PolicyName.P2
    if not policy.insures:
        detail = f"policy: {policy} gives one answer; here it is p2 or p3, and p2 when none is named"
        raise EffserveError(ErrorKind.INVALID_PARAMETER, detail, {"parameter": "policy"})
    return asked.model_copy(update={"policy": policy})


def invalid_parameter(error: Mapping[str, Any], model: type[PlanParameters] | None = None) -> EffserveError:
    """The named failure behind one of pydantic's error entries; `model` has the parameters that there are."""
    name = str(error["loc"][-1]) if error["loc"] else "parameters"
    if error["type"] == "extra_forbidden":
        # A parameter of classifying is refused only where nothing is classified.
        likely = PlanParameters if name in ClassifyParameters.model_fields else ClassifyParameters
        detail = f"{name} is not a parameter here; there are {', '.join((model or likely).model_fields)}"
    elif name in WANTED:
        return refusal(name, error["input"], WANTED[name])
    else:
        detail = f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}"
    return EffserveError(ErrorKind.INVALID_PARAMETER, detail, {"parameter": name})


def refusal(name: str, value: object, wanted: str) -> EffserveError:
    """Of a parameter's value. Numbers look alike, whether they came as text or not."""
    shown = str(value).removesuffix(".0")
    cut = shown[:SHOWN] + "…" * (len(shown) > SHOWN)
    return EffserveError(ErrorKind.INVALID_PARAMETER, f"{name}: {cut!r} should be {wanted}", {"parameter": name})
