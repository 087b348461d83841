"""A state machine over the scheduler: whatever happens in whatever order, the books balance."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.core.actions import Action, Reject, Start
from service.core.latency import Observation
from service.core.values import Mode
from tests.builders import TIMES_S, job, scheduler

LANES = 2


class SchedulerMachine(RuleBasedStateMachine):
    """Submits, finishes and cancels at random times."""

    def __init__(self) -> None:
        super().__init__()
        self.subject = scheduler(LANES, backlog_limit_s=0.3)
        self.now_s = 0.0
        self.number = 0
        self.busy: dict[int, Start] = {}
        self.waiting: set[int] = set()
        self.rejected: set[int] = set()

    def _take(self, actions: list[Action]) -> None:
        for action in actions:
            self.waiting.discard(action.job.id)
            if isinstance(action, Start):
                assert action.lane not in self.busy, "a lane got a second job"
                self.busy[action.lane] = action
            elif isinstance(action, Reject):
                self.rejected.add(action.job.id)

    @rule(budget_s=st.floats(0.001, 2.0), mode=st.sampled_from(Mode), named=st.sampled_from([None, "b0", "b4"]))
    def submit(self, budget_s: float, mode: Mode, named: str | None) -> None:
        """A request comes."""
        self.number += 1
        self.waiting.add(self.number)
        asked = job(self.number, budget_s, at_s=self.now_s, mode=mode, variant=named)
        self._take(self.subject.submit(self.now_s, asked))

    @rule(lane=st.integers(0, LANES - 1), stretch=st.floats(0.5, 3.0))
    def finish(self, lane: int, stretch: float) -> None:
        """A lane ends its run, faster or slower than expected."""
        if start := self.busy.pop(lane, None):
            name = start.decision.variant.name
            seconds = TIMES_S[name] * stretch
            self.now_s += seconds
            self._take(self.subject.finish(self.now_s, lane, Observation(name, "JPEG", 0.0, 0.0, seconds)))

    @rule(draw=st.data())
    def cancel(self, draw: st.DataObject) -> None:
        """A client leaves."""
        number = draw.draw(st.integers(0, self.number + 1))
        assert self.subject.cancel(number) == (number in self.waiting)
        self.waiting.discard(number)

    @rule(seconds=st.floats(0.0, 0.5))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    @invariant()
    def books_balance(self) -> None:
        """submitted = finished + rejected + cancelled + waiting + running."""
        s = self.subject.statistics(self.now_s)
        assert s.submitted == s.finished + s.rejected + s.cancelled + s.waiting + s.running

    @invariant()
    def views_agree(self) -> None:
        """What the driver was told and what the scheduler holds are the same."""
        state = self.subject.state(self.now_s)
        assert {j.id for j in state.waiting} == self.waiting
        assert {r.lane for r in state.running} == set(self.busy)

    @invariant()
    def no_lane_idles_while_something_waits(self) -> None:
        """Work-conserving."""
        state = self.subject.state(self.now_s)
        assert not (state.waiting and state.idle_lanes)


TestScheduler = SchedulerMachine.TestCase
