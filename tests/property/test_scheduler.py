"""A state machine over the scheduler: whatever happens in whatever order, the books balance."""

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.core.actions import Action, Deliver, Reject, Start, Terminate
from service.core.latency import Observation
from service.core.values import Job, Mode, PolicyName
from tests.builders import TIMES_S, job, scheduler

LANES = 2
BACKGROUND_LANES = 2
BUDGETS_S = st.one_of(st.floats(0.02, 0.06), st.floats(0.3, 2.0), st.floats(0.001, 2.0))
NAMES = st.sampled_from([None, None, None, None, "b0", "b4"])
POLICIES = st.sampled_from([PolicyName.K1, PolicyName.K1, PolicyName.P2, PolicyName.P3])


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come and their clients leave, runs end, fail, stop or hang on, at random times."""

    stop_s: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.subject = scheduler(LANES, background_lanes=BACKGROUND_LANES, stop_s=self.stop_s, patience_s=0.1)
        self.now_s = 0.0
        self.number = self.finished = self.cancelled = self.rejected = self.terminated = 0
        self.waiting: set[int] = set()
        self.insured: set[int] = set()
        """Jobs with an answer in hand."""
        self.busy: dict[int, Start] = {}
        self.stopping: set[int] = set()
        """Lanes whose run was asked to stop."""
        self.abandoned: set[int] = set()
        """Lanes whose run nobody waits for."""
        self.made_room: dict[int, str] = {}
        """What ran of jobs that had to make room without an answer in hand."""

    def _take(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start():
                    self._start(action)
                case Reject():
                    self.waiting.remove(action.job.id)
                    self.rejected += 1
                case Deliver():
                    self._deliver(action.job)
                case Terminate() if action.lane in self.abandoned:
                    self._ask_to_stop(action.lane)
                case Terminate():
                    self._make_room(action)

    def _deliver(self, delivered: Job) -> None:
        assert delivered.in_hand is not None
        self.finished += 1
        self.insured.remove(delivered.id)
        if delivered.id in self._running():
            event("an answer was delivered while a better one was tried")
            self.abandoned.add(self._running()[delivered.id])

    def _start(self, start: Start) -> None:
        assert start.lane not in self.busy, "a lane got a second job"
        self.busy[start.lane] = start
        assert (start.job.in_hand is not None) == (start.lane >= LANES), "a run on the wrong kind of lane"
        if start.job.in_hand is not None:
            event(f"an upgrade began, asked for: {start.job.question.insures}")
            assert TIMES_S[start.decision.variant.name] > TIMES_S[start.job.in_hand.name]
            assert start.job.id in self.insured
            return
        self.waiting.remove(start.job.id)
        before = start.decision.terminated
        assert (before.name if before else None) == self.made_room.get(start.job.id)
        if before:
            assert start.decision.variant.name == "b0", "a job that made room is in the way again"

    def _make_room(self, action: Terminate) -> None:
        event("a run was terminated")
        run = self.busy[action.lane]
        assert run.job.id == action.job.id
        assert self.waiting, "a run was terminated for nobody"
        assert action.lane < LANES, "an upgrade in the background had to make room"
        assert action.job.id not in self.made_room, "a job had to make room twice"
        if run.decision.variant.name == "b0":
            event("it was a run of the cheapest")
            waiting = (other.question.deadline.at_s for other in self.subject.state(self.now_s).waiting)
            earliest_s = min(due_s for due_s in waiting if due_s > self.now_s)
            assert earliest_s <= action.job.question.deadline.at_s, "the cheapest had to make room for who is due later"
            assert not action.job.question.insures, "who asked to be insured had to make room"
        assert action.job.question.variant is None, "a named variant had to make room"
        self._ask_to_stop(action.lane)

    def _ask_to_stop(self, lane: int) -> None:
        assert lane not in self.stopping, "a run was asked to stop twice"
        self.stopping.add(lane)

    def _free(self, lane: int) -> tuple[Start, bool]:
        """What ran there, and whether somebody still waits for it."""
        wanted = lane not in self.abandoned
        self.stopping.discard(lane)
        self.abandoned.discard(lane)
        return self.busy.pop(lane), wanted

    @rule(
        budget_s=BUDGETS_S,
        mode=st.sampled_from(Mode),
        named=NAMES,
        spent=POLICIES,
    )
    def submit(self, budget_s: float, mode: Mode, named: str | None, spent: PolicyName) -> None:
        """A request comes."""
        self.number += 1
        self.waiting.add(self.number)
        asked = job(self.number, budget_s, at_s=self.now_s, mode=mode, variant=named, policy=spent)
        self._take(self.subject.submit(self.now_s, asked))

    @precondition(lambda self: self.busy)
    @rule(
        draw=st.data(),
        stretch=st.floats(0.5, 3.0),
        fails=st.sampled_from([False, False, False, True]),
        sure=st.floats(0, 1),
    )
    def finish(self, draw: st.DataObject, stretch: float, fails: bool, sure: float) -> None:
        """A run ends by itself, faster or slower than expected, asked to stop or not; it may fail."""
        self._end(draw.draw(st.sampled_from(sorted(self.busy))), stretch, fails=fails, sure=sure)

    def _end(self, lane: int, stretch: float, *, fails: bool, sure: float = 0.5) -> None:
        start, wanted = self._free(lane)
        name = start.decision.variant.name
        seconds = TIMES_S[name] * stretch
        self.now_s = max(self.now_s, start.decision.decided_at_s + seconds)
        run = None if fails else Observation(name, "JPEG", 0.0, 0.0, seconds, sure)
        if wanted and lane < LANES:
            kept = not fails and start.decision.insured
            self.insured |= {start.job.id} if kept else set()
            self.finished += not kept
        self._take(self.subject.finish(self.now_s, lane, run))
        assert not (fails and wanted and start.job.id in self.insured), "a failed upgrade was followed by another"

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.0, 0.015]))
    def respond(self, seconds: float) -> None:
        """An answer has gone out, seldom slowly: so there are requests in doubt."""
        self.subject.latency.observe_respond(seconds)
        doubt_s = self.subject.latency.respond_s() - self.subject.latency.expected_respond_s()
        event(f"responding may take longer than usual: {doubt_s > 0.001}")

    @precondition(lambda self: self.stopping)
    @rule(draw=st.data(), seconds=st.floats(0.0, 0.01))
    def stop(self, draw: st.DataObject, seconds: float) -> None:
        """A run that was asked to stop has stopped."""
        lane = draw.draw(st.sampled_from(sorted(self.stopping)))
        start, wanted = self._free(lane)
        self.terminated += wanted
        if wanted:
            self.waiting.add(start.job.id)
            self.made_room[start.job.id] = start.decision.variant.name
        self.now_s += seconds
        self._take(self.subject.terminated(self.now_s, lane))

    @rule()
    def tick(self) -> None:
        """Nothing happened until the scheduler wanted to be asked again."""
        wake_s = self.subject.wake_s(self.now_s)
        if wake_s is not None:
            assert wake_s > self.now_s
            self.now_s = wake_s
            self._take(self.subject.tick(self.now_s))

    @rule(draw=st.data())
    def cancel(self, draw: st.DataObject) -> None:
        """A client leaves: of a job that waits, that runs, or that nobody knows any more."""
        number = draw.draw(st.integers(0, self.number + 1))
        running = self._running()
        stoppable = self.stop_s is not None or running.get(number, 0) >= LANES
        asks = stoppable and number in running and running[number] not in self.stopping
        actions = self.subject.cancel(self.now_s, number)
        assert actions == ([Terminate(running[number], self.busy[running[number]].job)] if asks else [])
        self.cancelled += number in self.waiting | self.insured | running.keys()
        self.waiting.discard(number)
        self.insured.discard(number)
        if number in running:
            self.abandoned.add(running[number])
        if asks:
            self._ask_to_stop(running[number])

    def _running(self) -> dict[int, int]:
        """Lanes by job, of those whose client is still there."""
        return {start.job.id: lane for lane, start in self.busy.items() if lane not in self.abandoned}

    @rule(seconds=st.floats(0.0, 0.5))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    @invariant()
    def books_balance(self) -> None:
        """submitted = finished + rejected + cancelled + waiting + insured + running; each is what it should be."""
        s = self.subject.statistics(self.now_s)
        gone = s.finished + s.rejected + s.cancelled
        assert s.submitted == gone + s.waiting + s.insured + s.running == self.number
        assert (s.finished, s.rejected, s.cancelled) == (self.finished, self.rejected, self.cancelled)
        assert (s.terminated, s.busy) == (self.terminated, sum(lane < LANES for lane in self.busy))

    @invariant()
    def views_agree(self) -> None:
        """What the driver was told and what the scheduler holds are the same; nobody is in two places."""
        state = self.subject.state(self.now_s)
        ids = [one.id for one in state.waiting]
        assert sorted(ids) == sorted(self.waiting)
        assert sorted(one.id for one in state.insured) == sorted(self.insured)
        front = {lane: start.job.id for lane, start in self.busy.items() if lane < LANES}
        assert {run.lane: run.job.id for run in state.running} == front
        assert {run.lane for run in state.running if run.stops_s is not None} == {n for n in self.stopping if n < LANES}
        ids += [one.id for one in state.insured] + [job_id for job_id, lane in self._running().items() if lane < LANES]
        assert len(ids) == len(set(ids))
        behind = {job_id: lane for job_id, lane in self._running().items() if lane >= LANES}
        assert {run.job.id: run.lane for run in state.upgrades} == behind
        assert behind.keys() <= self.insured
        assert {*state.idle_background, *self.busy} >= set(range(LANES, LANES + BACKGROUND_LANES))

    @invariant()
    def no_lane_idles_while_something_waits(self) -> None:
        """Work-conserving."""
        state = self.subject.state(self.now_s)
        assert not (state.waiting and state.idle_lanes)

    def teardown(self) -> None:
        """Once nothing new comes, everybody gets an outcome."""
        while self.busy or self.insured:
            if self.busy:
                self._end(min(self.busy), 1.0, fails=False)
            else:
                self.tick()
        assert self.subject.wake_s(self.now_s) is None
        assert self.number == self.finished + self.rejected + self.cancelled


class StoppableMachine(SchedulerMachine):
    """The same on a machine where runs can be terminated."""

    stop_s = 0.002


TestScheduler = SchedulerMachine.TestCase
TestSchedulerThatTerminates = StoppableMachine.TestCase
