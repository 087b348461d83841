"""One moment as a policy sees it: clock, snapshot, Pareto front at present costs, and what follows from them.

Nothing here decides; the rules in `policy` and in the baselines ask these questions.
"""

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice

from service.core.catalogue import Catalogue, rank
from service.core.errors import EffserveError, ErrorKind
from service.core.state import Costs, Running, SystemState, free_lanes_s, wait_s
from service.core.values import Deadline, Job, Mode, Variant, urgency

MOST_DEADLINES = 64
"""Waiting jobs that a look-ahead counts. With more, the machine is overloaded, and the cheapest variant answers."""
KEPT = 1.1
"""Nobody takes a place that another has, should runs take so many times what is expected of them: at the door, and in
doubt."""
TO_SPARE = 1.05
"""A newcomer is expected in time though runs take so many times what is expected of them; by a hair it would be refused
half of the time, and late."""
ASKED_AGAIN_S = 5e-4
"""What a budget named in a refusal has to spare: no two requests take the same time until they are in,
and by a hair the next one would be refused, too, with yet another budget."""
SOONEST_S = 1e-4
"""Looking again sooner than this is no use, nor is a lane that is free sooner by no more than this."""


class Situation:
    """Created for one decision. Methods raise `EffserveError(UNKNOWN_VARIANT | ACCURACY_UNAVAILABLE)` for a job that
    nothing served is eligible for."""

    def __init__(
        self, catalogue: Catalogue, now_s: float, state: SystemState, costs: Costs, *, stop_s: float | None = None
    ) -> None:
        self.catalogue = catalogue
        self.now_s = now_s
        self.state = state
        self.costs = costs
        self.stop_s = stop_s
        """Time within which a terminated run stops; None when the rule may terminate none now."""
        self.front = catalogue.front(costs)
        self._respond_s = costs.respond_s()
        self._expected_respond_s = costs.expected_respond_s()
        self._dispatch_s = costs.dispatch_s()
        self._least_s: dict[tuple[str | None, float | None, float], float] = {}
        self._tails: dict[tuple[str | None, float | None, float, bool], tuple[tuple[Variant, float], ...]] = {}
        self._better: dict[tuple[str | None, float | None, float, bool, str], tuple[tuple[Variant, float], ...]] = {}

    def eligible(self, job: Job) -> tuple[Variant, ...]:
        """What the job leaves to choose from, most accurate first."""
        return self.catalogue.eligible(job, self.front, self.costs)

    def cheapest(self, job: Job) -> Variant:
        """The last resort of a job."""
        return self.eligible(job)[-1]

    def left_s(self, job: Job) -> float:
        """Budget left for decode and inference, with what the response may take kept back."""
        return job.question.deadline.at_s - self.now_s - self._respond_s

    def expected_left_s(self, job: Job) -> float:
        """The same with what the response usually takes."""
        return job.question.deadline.at_s - self.now_s - self._expected_respond_s

    def expected_s(self, job: Job, variant: Variant) -> float:
        """Mean service time."""
        return self.costs.expected_s(variant.name, job.decode_s)

    def tail_s(self, job: Job, variant: Variant) -> float:
        """Upper quantile of the service time."""
        return self.costs.tail_s(variant.name, job.decode_s)

    def keeps_s(self, job: Job, variant: Variant) -> float:
        """Mean time that a run keeps its lane: the service time, and what handing over takes."""
        return self.expected_s(job, variant) + self._dispatch_s

    def least_s(self, job: Job) -> float:
        """Mean lane time at the cheapest eligible variant: what most questions are about, so it is kept. It is the same
        for all who ask alike, also for who was terminated."""
        alike = job.question.variant, job.question.min_top1, job.decode_s
        least_s = self._least_s.get(alike)
        if least_s is None:
            least_s = self._least_s[alike] = self.keeps_s(job, self.cheapest(job))
        return least_s

    def tails_s(self, job: Job) -> tuple[tuple[Variant, float], ...]:
        """Eligible variants with their tails, most accurate first; kept, for all who ask alike."""
        alike = job.question.variant, job.question.min_top1, job.decode_s, job.terminated is None
        tails_s = self._tails.get(alike)
        if tails_s is None:
            tails_s = self._tails[alike] = tuple((v, self.tail_s(job, v)) for v in self.eligible(job))
        return tails_s

    def better_s(self, job: Job) -> tuple[tuple[Variant, float], ...]:
        """Those of `tails_s` that are more accurate than the answer in hand, which there is; kept likewise."""
        assert job.in_hand is not None, "only answers in hand are bettered"
        alike = job.question.variant, job.question.min_top1, job.decode_s, job.terminated is None, job.in_hand.name
        better_s = self._better.get(alike)
        if better_s is None:
            known = rank(job.in_hand)
            better_s = self._better[alike] = tuple(one for one in self.tails_s(job) if rank(one[0]) > known)
        return better_s

    def fitting(self, job: Job) -> tuple[Variant, ...]:
        """Eligible variants whose tail fits what is left, most accurate first."""
        left_s = self.left_s(job)
        return tuple(v for v in self.eligible(job) if self.tail_s(job, v) <= left_s)

    def is_late(self, job: Job) -> bool:
        """Whether the job is expected to miss its deadline even if it started now at its cheapest. What it named and is
        not served any more had a cost of its own, so of such a job only that is known whether its deadline has passed.
        """
        return self._least_needed_s(job) > self.expected_left_s(job)

    def is_doubtful(self, job: Job) -> bool:
        """Whether it is expected to make its deadline, and would not if the response took what it may take."""
        return self.expected_left_s(job) >= self._least_needed_s(job) > self.left_s(job)

    def _least_needed_s(self, job: Job) -> float:
        # Without the hand-over: its end is within the reserve for the response, and admission does not count it either.
        return 0.0 if self.is_superseded(job) else self.least_s(job) - self._dispatch_s

    def is_superseded(self, job: Job) -> bool:
        """Whether the job named what has been replaced or unloaded since it came. That still answers it."""
        return job.named is not None and job.named not in self.catalogue.variants

    def timely(self) -> Iterator[Job]:
        """Waiting jobs that can still make it, in deadline order."""
        return (job for job in self.state.waiting if not self.is_late(job))

    def head(self) -> Job:
        """Whose turn it is: the earliest deadline among those that can still make it, else the earliest of the late.

        One late request must not make the next one late (the domino effect of plain EDF under overload). Nor must one
        in doubt, which has its turn when that costs nobody a place.
        """
        first = next(self.timely(), self.state.waiting[0])
        return first if self.has_turn(first) else next(iter(self._certain), first)

    def has_turn(self, job: Job) -> bool:
        """Whether it may be served before those behind it: everybody, but for who is in doubt at another's cost."""
        return not self.is_doubtful(job) or not _more(self._late([job, *self._certain], new=job), self._late_certain)

    def hopeless(self) -> Job | None:
        """A strict job that nothing fits any more: waiting on would only delay the refusal."""
        strict = (job for job in self._urgent if job.question.mode is Mode.STRICT)
        return next((job for job in strict if not self.is_servable(job)), None)

    def is_servable(self, job: Job, in_s: float = 0.0) -> bool:
        """Whether it would be served if a lane were free for it in `in_s`: in time as far as is expected, or, strict,
        in any case. What is not served any more has no cost that is known, and is served."""
        if job.question.mode is Mode.STRICT and not self.is_superseded(job):
            return in_s + self.tail_s(job, self.cheapest(job)) <= self.left_s(job)
        return in_s + self._least_needed_s(job) <= self.expected_left_s(job)

    def overdue(self, patience_s: float) -> Job | None:
        """The first job that is late and whose wait beyond its deadline would outlast its client's patience."""
        late = (job for job in self._urgent if self.is_late(job))
        return next((job for job in late if self.outlasts(job, patience_s, self.expected_left_s(job))), None)

    def is_upgrade(self, run: Running) -> bool:
        """Whether a cheaper variant could have answered."""
        return run.variant != self.cheapest(run.job)

    def work_s(self) -> float:
        """Predicted work of the lanes: what runs, and what waits at its cheapest."""
        running_s = sum(run.remaining_s(self.now_s) for run in self.state.running)
        return running_s + sum(map(self.least_s, self.state.waiting))

    @cached_property
    def backlog_s(self) -> float:
        """The same for each lane."""
        return self.work_s() / self.state.lanes

    def makes_late(self, job: Job) -> bool:
        """Whether, with `job` among those who wait, one more would be late, it or another, or would have less to spare
        than a place is kept with; all at their cheapest."""
        others = self._others(job)
        with_it = self._late(sorted([*others, job], key=urgency), new=job, spare=TO_SPARE)
        return _more(with_it, self._late(others))

    def outlasts(self, job: Job, patience_s: float, left_s: float) -> bool:
        """Whether who is late waits `patience_s` beyond what is left, its own run not counted: whoever names a slow
        variant has patience for that."""
        return self.late_wait_s(job) - left_s > patience_s + self.least_s(job)

    def late_wait_s(self, job: Job) -> float:
        """Expected wait of who is late, each of whom `job` would be one: until the work at hand is done, and what comes
        meanwhile, which goes first. Of two classes of priority the second waits 1/(1 − ρ) times as long as it would if
        nobody came (Cobham 1954); for ever, when as much comes as the lanes can do. Who comes is taken for the cheapest
        that budgets buy, with an image like this one."""
        left = self._left_share(job)
        return self.backlog_s / left if left > 0 else math.inf

    def _left_share(self, job: Job) -> float:
        """Share of the lanes' time that who comes leaves to the late; none or less under overload."""
        usual_s = self.keeps_s(job, self.front[-1]) if self.front else self.least_s(job)
        return 1 - self.state.calm_arrivals_per_s * usual_s / self.state.lanes

    @cached_property
    def _is_overloaded(self) -> bool:
        """Whether as much comes as the lanes can do, with images like that of somebody who is there."""
        there = next(chain(self.state.waiting, (run.job for run in self.state.running)), None)
        return there is not None and self._left_share(there) <= 0

    def needed_s(self, job: Job, budget_s: float) -> float:
        """What a budget of `budget_s` would have to be: with a later deadline more jobs go first, but for the late, and
        fewer runs make room."""
        deadline = Deadline(job.question.deadline.started_s, budget_s)
        before = (j for j in self.state.waiting if j.question.deadline.at_s <= deadline.at_s and j.id != job.id)
        ahead = [j for j in before if not self.is_late(j)]
        urgent = replace(job, question=replace(job.question, deadline=deadline))
        wait = wait_s(self._lanes_with_room_s(urgent), map(self.least_s, ahead))
        service_s = self.tail_s(job, self.cheapest(job)) + self.costs.respond_s()
        return self.now_s - deadline.started_s + wait + service_s

    def smallest_feasible_budget_s(self, job: Job, at_least_s: float = 0.0, spare_s: float = 0.0) -> float:
        """The least budget from `at_least_s` on that is enough with `spare_s` to spare, rounded up to 0.1 ms.

        Ends: each round either is the last, or puts at least one more waiting job ahead or leaves one run less to make
        room.
        """
        budget_s, needed_s = at_least_s, self.needed_s(job, at_least_s) + spare_s
        while needed_s > budget_s:
            tenths = math.ceil(needed_s * 1e4)
            # Dividing may round below what is needed, by the last digit; asking again would then never end.
            budget_s = tenths / 1e4 if tenths / 1e4 >= needed_s else (tenths + 1) / 1e4
            needed_s = self.needed_s(job, budget_s) + spare_s
        return budget_s

    def infeasible(self, job: Job) -> EffserveError:
        """The refusal of a strict job, with the smallest budget that would have done and had a little to spare."""
        budget_s = job.question.deadline.budget_s
        smallest_ms = round(self.smallest_feasible_budget_s(job, budget_s, ASKED_AGAIN_S) * 1e3, 1)
        detail = f"no eligible variant fits {budget_s * 1e3:g} ms now; {smallest_ms:.1f} ms would do"
        facts: dict[str, float | int | str] = {
            "budget_ms": round(budget_s * 1e3, 3),
            "smallest_feasible_budget_ms": smallest_ms,
        }
        return EffserveError(ErrorKind.INFEASIBLE_BUDGET, detail, facts)

    def free_lanes_s(self) -> list[float]:
        """Seconds until each lane is free by itself, as a heap."""
        return free_lanes_s(self.state, [run.remaining_s(self.now_s) for run in self.state.running])

    def makes_room(self, run: Running) -> bool:
        """Whether a run would be terminated for somebody more urgent: an upgrade, or, but for overload, the
        cheapest of who left the choice open; once for each job, and never of who asked to be insured. What is not
        served any more is left to end."""
        if self.stop_s is None or run.stops_s is not None or run.job.terminated is not None:
            return False
        question = run.job.question
        if run.variant not in self.catalogue.variants or question.insures:
            return False
        return self.is_upgrade(run) or (question.insurable and not self._is_overloaded)

    def makes_room_for(self, run: Running, job: Job) -> bool:
        """Whether it would for this one: an upgrade takes less the second time. The cheapest does not: as in preemptive
        EDF, it yields to who is due before, if its own job can start anew then."""
        if not self.makes_room(run):
            return False
        return self.is_upgrade(run) or (urgency(job) < urgency(run.job) and self.room_s(run.job) > 0)

    def starves_nobody(self, job: Job, variant: Variant, *, utilisation: float, arrival_reserve: float) -> bool:
        """Whether everybody who waits could still be served in time if no run were ever terminated.

        List scheduling: whoever waits takes the lane that is free first, in deadline order, at the cheapest variant.
        """
        free_s = self.free_lanes_s()
        heapq.heapreplace(free_s, free_s[0] + self.keeps_s(job, variant))
        for other in self._others(job):
            ends_s, until_s = free_s[0] + self.least_s(other), self.left_s(other)
            arriving_s = self.arriving(until_s, arrival_reserve) * self.least_s(job) / self.state.lanes
            if ends_s + arriving_s > utilisation * until_s:
                return False
            heapq.heapreplace(free_s, ends_s)
        return True

    def room_s(self, job: Job) -> float:
        """How long a run for `job` that starts now could still make room: until its deadline leaves no time to start
        anew at the cheapest, behind whoever got its lane."""
        return self.left_s(job) - 2 * self.tail_s(job, self.cheapest(job)) - (self.stop_s or 0.0)

    def arriving(self, until_s: float, reserve: float, *, bursts: bool = False) -> float:
        """Arrivals to be prepared for: the mean and `reserve` standard deviations, as in square-root staffing (Halfin &
        Whitt 1981); so a reserve weighs less the more requests and lanes there are. With `bursts` no fewer than one
        standard deviation of a renewal process with such gaps, whose variance is about its mean times their squared
        coefficient of variation (Cox 1962)."""
        ahead_s = max(until_s, 0.0)
        mean = self.state.arrivals_per_s * ahead_s
        steady = mean + reserve * math.sqrt(mean)
        if not bursts:
            return steady
        calm = self.state.calm_arrivals_per_s * ahead_s
        return max(steady, calm + math.sqrt(self.state.burstiness * calm))

    def allowance_s(self, job: Job, *, utilisation: float, arrival_reserve: float, bursts: bool) -> float:
        """Lane time that `job` may take so that everybody can be served in time, if runs make room when they must.

        The demand-bound test of EDF (Baruah, Rosier & Howell 1990) on lanes taken as one divisible machine: until each
        deadline D from the job's own on, the work due by then, with those who wait at their cheapest, plus what
        arrivals at the present rate may bring, stays within the lanes' time. What the job itself adds counts until
        each of these, so the least slack is what it may take. `bursts`: for runs that cannot make room when one comes.
        """
        work = sorted([*self._due(job), (self.left_s(job), 0.0)])
        allowance_s, due_s = math.inf, self._blocked_s()
        for left_s, seconds in work:
            due_s += seconds
            if left_s >= self.left_s(job):
                arriving = self.arriving(left_s, arrival_reserve, bursts=bursts)
                free_s = self.state.lanes * utilisation * left_s - arriving * self.least_s(job)
                allowance_s = min(allowance_s, free_s - due_s)
        return allowance_s

    @cached_property
    def _urgent(self) -> tuple[Job, ...]:
        """Who waits, in a crowd without those whose deadlines are further away than any run takes: none of them is
        late, and looking at each would take longer the longer the budgets are that clients give."""
        waiting = self.state.waiting
        if len(waiting) <= MOST_DEADLINES:
            return waiting
        decode_s = max(job.decode_s for job in waiting)
        costs, known = self.costs, self.catalogue.variants
        longest_s = max(max(costs.expected_s(v.name, decode_s), costs.tail_s(v.name, decode_s)) for v in known)
        until_s = self.now_s + self._respond_s + self._dispatch_s + longest_s + SOONEST_S
        return waiting[: bisect_right(waiting, until_s, key=lambda job: job.question.deadline.at_s)]

    @cached_property
    def _certain(self) -> tuple[Job, ...]:
        """Who waits and is in time also if responding takes long, at most as many as a look-ahead counts."""
        return tuple(islice((job for job in self.timely() if not self.is_doubtful(job)), MOST_DEADLINES))

    @cached_property
    def _late_certain(self) -> tuple[int, int]:
        return self._late(self._certain)

    def _late(self, jobs: Iterable[Job], new: Job | None = None, spare: float = 1.0) -> tuple[int, int]:
        """How many of these would be late, each in turn on the lane that is free first, if runs make room for the first
        of them, and how many would not keep their place. Who is late takes none, and what is not served any more takes
        as long as what is. Of `new`, which has no place to keep, it is asked that it is expected in time, with `spare`
        to spare."""
        jobs = list(jobs)
        free_s, late, losing = self._lanes_with_room_s(jobs[0]) if jobs else [], 0, 0
        for job in jobs:
            ends_s = free_s[0] + self._least_needed_s(job)
            left_s = self.expected_left_s(job) if job is new else self.left_s(job)
            if ends_s > left_s:
                late += 1
            else:
                heapq.heapreplace(free_s, free_s[0] + self.least_s(job))
            if ends_s * (spare if job is new else KEPT) > left_s:
                losing += 1
        return late, losing

    def _others(self, job: Job) -> list[Job]:
        """Who else waits and can still make it, at most as many as a look-ahead counts."""
        return [other for other in islice(self.timely(), MOST_DEADLINES + 1) if other.id != job.id]

    def _due(self, job: Job) -> Iterator[tuple[float, float]]:
        """(seconds until it is due, seconds of work) of those who wait, and of the runs that make room."""
        for other in self._others(job):
            yield self.left_s(other), self.least_s(other)
        for run in filter(self.makes_room, self.state.running):
            yield self.left_s(run.job), run.remaining_s(self.now_s)

    def _blocked_s(self) -> float:
        """Work of the runs that will not make room: due at once."""
        return sum(run.remaining_s(self.now_s) for run in self.state.running if not self.makes_room(run))

    def _lanes_with_room_s(self, job: Job) -> list[float]:
        """Seconds until each lane could be free, as a heap, if runs make room for `job`."""
        stop_s = math.inf if self.stop_s is None else self.stop_s
        running = self.state.running
        left_s = [
            (run.remaining_s(self.now_s), stop_s if self.makes_room_for(run, job) else math.inf) for run in running
        ]
        return free_lanes_s(self.state, list(map(min, left_s)))


def _more(with_it: tuple[int, int], without: tuple[int, int]) -> bool:
    """Whether either count has grown."""
    return with_it[0] > without[0] or with_it[1] > without[1]
