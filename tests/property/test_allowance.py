"""How much lane time a request may take, against a schedule that is played out tick by tick.

Everything is counted in ticks of 1/1024 s, so that sums are exact. The lanes are one machine that does as many ticks
of work in a tick as there are lanes, always for whoever is due first; a run that makes no room is due at once.
"""

from dataclasses import dataclass, replace

from hypothesis import assume, event, given
from hypothesis import strategies as st

from service.core.state import Running
from service.core.values import Job
from tests.builders import FAMILY, FixedCosts, job, policy, state, variant

TICK_S = 1 / 1024
TICKS = {"b0": 16, "b1": 26, "b2": 36, "b3": 63, "b4": 144}
COSTS = FixedCosts({name: ticks * TICK_S for name, ticks in TICKS.items()}, tail_factor=1.0, stop_s=2 * TICK_S)
EXACT = policy(utilisation=1.0, arrival_reserve=0.0)


@dataclass(frozen=True)
class Waiting:
    """Another request, in ticks."""

    due: int
    decode: int

    def job(self, number: int) -> Job:
        """As the policy sees it."""
        return job(number, self.due * TICK_S, decode_s=self.decode * TICK_S)

    @property
    def work(self) -> int:
        """At its cheapest."""
        return TICKS["b0"] + self.decode


@dataclass(frozen=True)
class Busy:
    """A run, in ticks."""

    left: int
    due: int
    kind: str

    def run(self, lane: int) -> Running:
        """As the policy sees it."""
        name = "b0" if self.kind == "cheapest" else "b3"
        asked = job(100 + lane, self.due * TICK_S, variant="b3" if self.kind == "named" else None)
        asked = replace(asked, terminated=variant("b4") if self.kind == "second" else None)
        stops_s = self.left * TICK_S if self.kind == "stopping" else None
        return Running(lane, asked, variant(name), -1.0, self.left * TICK_S, self.left * TICK_S, stops_s)

    @property
    def work(self) -> tuple[int, int]:
        """When it is due, and what it takes."""
        return (self.due if self.kind in ("upgrade", "cheapest") else 0), self.left


waiting = st.builds(Waiting, due=st.integers(1, 250), decode=st.integers(0, 20))
busy = st.builds(
    Busy,
    left=st.integers(1, 80),
    due=st.integers(1, 250),
    kind=st.sampled_from(["upgrade", "upgrade", "cheapest", "named", "second", "stopping"]),
)


def all_in_time(work: list[tuple[int, int]], lanes: int, since: int) -> bool:
    """Play (due, work) out; whether all that is due from `since` on is done by then."""
    left = sorted(work)
    for now in range(max(due for due, _ in left) + 1):
        if any(ticks > 0 and since <= due <= now for due, ticks in left):
            return False
        free = lanes
        for position, (due, ticks) in enumerate(left):
            done = min(free, ticks)
            left[position], free = (due, ticks - done), free - done
    return True


def most(work: list[tuple[int, int]], lanes: int, due: int) -> int:
    """The most ticks that a request due then may take, by trying; -1 when even nothing is too much."""
    return next((ticks for ticks in range(150, -1, -1) if all_in_time([*work, (due, ticks)], lanes, since=due)), -1)


@given(st.lists(waiting, max_size=5), st.lists(busy, max_size=3), st.integers(1, 4), st.integers(16, 250))
def test_a_request_may_take_exactly_what_leaves_everybody_in_time(
    others: list[Waiting], runs: list[Busy], lanes: int, due: int
) -> None:
    """The most accurate variant that fits the budget and what trying allows; the cheapest when none does."""
    assume(len(runs) < lanes)
    asked = job(1, due * TICK_S)
    queue = [other.job(number) for number, other in enumerate(others, 2)]
    snapshot = state(asked, *queue, lanes=lanes, busy=tuple(one.run(lane) for lane, one in enumerate(runs)))
    # While somebody waits who is late whatever is done, there are no upgrades.
    assume(all(other.work <= other.due for other in others))
    work = [one.work for one in runs] + [(other.due, other.work) for other in others]
    allowed = most(work, lanes, due)
    expected = next((v for v in reversed(FAMILY) if TICKS[v.name] <= min(due, allowed)), FAMILY[0])
    event("the budget decides" if allowed >= due else "others decide")
    assert EXACT.decide(0.0, asked, snapshot, COSTS).variant == expected
