"""What is asked of both sides: which requests, when, for how long."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.clients import Given
from service.core.values import Deadline, PolicyName, Question
from service.simulation.traces import DEFAULT_MIX, SHAPES

VARIANTS = ("b0", "b1", "b2", "b3", "b4")
"""What budgets of up to 800 ms can use on two cores."""


@dataclass(frozen=True, slots=True)
class Run:
    """One validation run: how budgets are spent, and the shape of the arrivals."""

    policy: str
    """`k1`, `p2`, or the name of a variant that each request then asks for."""
    trace: str

    def __str__(self) -> str:
        return f"{self.policy}-{self.trace}"

    @property
    def given(self) -> Given:
        """What requests say to the server beside their budget."""
        return {"policy": self.policy} if self.policy in _POLICIES else {"variant": self.policy}

    @property
    def question(self) -> Question:
        """What they say in the simulator."""
        anything = Deadline(0.0, 0.0)
        if self.policy in _POLICIES:
            return Question(anything, policy=_POLICIES[self.policy])
        return Question(anything, variant=self.policy)


_POLICIES: Mapping[str, PolicyName] = {str(policy): policy for policy in PolicyName}


def parsed(text: str) -> tuple[Run, ...]:
    """`k1:poisson,b0:poisson`. Raises `ValueError`."""
    runs = tuple(Run(*part.strip().split(":", 1)) for part in text.split(",") if ":" in part)
    wrong = [run.trace for run in runs if run.trace not in SHAPES]
    if not runs or wrong or len(runs) != text.count(",") + 1:
        raise ValueError(f"runs are given as POLICY:TRACE,…, with a trace of {', '.join(SHAPES)}, not as {text!r}")
    return runs


@dataclass(frozen=True, slots=True)
class Setting:
    """The whole of a validation."""

    runs: tuple[Run, ...] = parsed("k1:poisson,k1:gamma4,b0:poisson")
    protocol: str = "http"
    variants: tuple[str, ...] = VARIANTS
    lanes: int = 2
    load: float = 0.45
    """Share of the lanes' time that the cheapest variant alone would take, at its recorded mean."""
    budgets: str = DEFAULT_MIX
    seed: int = 0
    warm_up_s: float = 8.0
    """Of each run; requests of that time are sent and played, and do not count."""
    seconds: float = 60.0
    """Of each run, after it."""
    record_s: float = 270.0
    """For all recordings together: one before the first run, and one after each."""
    calibrate_s: float = 0.5
    """Of each variant, at the first start of the server; the service's default."""
    replays: int = 8
    """Simulations of each run, each with service times drawn anew."""


QUICK = Setting(seconds=6.0, warm_up_s=2.0, record_s=24.0, calibrate_s=0.1, replays=3)
"""Shows that everything works; the figures mean little."""
