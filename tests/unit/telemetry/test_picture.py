"""The operator's picture, from what the real metrics expose."""

from dataclasses import replace

import pytest

from service import __version__
from service.core.errors import ErrorKind
from service.core.events import Event
from service.telemetry.metrics import Metrics
from service.telemetry.picture import LaneLine, Picture, is_ours, picture, started_at
from service.telemetry.scrape import Change, Scrape, read
from tests.builders import job
from tests.unit.telemetry.events import MACS, TIMING, answered, failed, loaded
from tests.unit.telemetry.test_metrics import Service


class Server:
    """Metrics that watch a dataplane with two lanes, b0, and a seeded b4."""

    def __init__(self) -> None:
        self.metrics, self.service = Metrics(), Service()
        self.metrics.watch(self.service.health, self.service.variants)
        for name in MACS:
            self.metrics.observe(loaded(name))

    def observe(self, *events: Event) -> None:
        """Let them happen."""
        for event in events:
            self.metrics.observe(event)

    def scrape(self, at_s: float = 0.0) -> Scrape:
        """What a reader gets."""
        self.metrics.refresh()
        return read(self.metrics.exposition("")[0].decode(), at_s)


@pytest.fixture
def server() -> Server:
    """Nothing has happened."""
    return Server()


def shown(server: Server, *events: Event, seconds: float = 10.0) -> Picture:
    """The picture of that many seconds in which these happened."""
    before = server.scrape()
    server.observe(*events)
    return picture(Change(before, server.scrape(seconds), seconds))


def test_variants_show_what_they_are_worth_and_did(server: Server) -> None:
    """Three of four answers are b0's, within 24 ms."""
    b0, b4 = shown(server, *[answered("b0")] * 3, answered("b4", timing=replace(TIMING, inference_s=0.4))).variants
    assert (b0.name, b0.top1, b0.trained, b0.routed, b0.expected_s, b0.tail_s) == ("b0", 0.771, True, True, 0.02, 0.025)
    assert (b0.answers_per_s, b0.share, b4.answers_per_s, b4.share) == pytest.approx((0.3, 0.75, 0.1, 0.25))
    assert b0.p50_s is not None
    assert b4.p99_s is not None
    assert 0.02 < b0.p50_s < 0.03
    assert 0.3 < b4.p99_s <= 0.5
    assert not b4.trained


def test_what_was_before_is_left_out(server: Server) -> None:
    """Without anything new there are no shares and no quantiles."""
    server.observe(answered("b0"), failed(ErrorKind.QUEUE_FULL, budget_s=0.1))
    calm = shown(server)
    assert (calm.answers_per_s, calm.top1, calm.lost_top1, calm.failures, calm.budgets) == (0, None, None, {}, ())
    assert {(one.share, one.p50_s, one.p99_s) for one in calm.variants} == {(None, None, None)}


def test_budgets_are_shown_by_class_and_outcome(server: Server) -> None:
    """Tightest first; those that nobody asked for are left out."""
    found = shown(
        server,
        answered(budget_s=0.1),
        answered(budget_s=0.1, met=False),
        answered(budget_s=0.02, met=False, alone=None),
        failed(ErrorKind.QUEUE_FULL, budget_s=0.1),
    ).budgets
    assert [(line.budget, dict(line.outcomes), line.total) for line in found] == [
        ("20ms", {"unattainable": 1}, 1),
        ("100ms", {"met": 1, "missed": 1, "shed": 1}, 3),
    ]


def test_accuracy_and_what_load_cost_of_it(server: Server) -> None:
    """b0 answered twice; alone, b4 would have answered one of them."""
    found = shown(server, answered("b0"), answered("b0", alone="b4"))
    assert found.top1 == pytest.approx(0.771)
    assert found.lost_top1 == pytest.approx((0.829 - 0.771) / 2)


def test_failures_are_shown_by_kind(server: Server) -> None:
    """Whether their budget was understood or not."""
    found = shown(server, *[failed(ErrorKind.EMPTY_IMAGE)] * 2, failed(ErrorKind.QUEUE_FULL, budget_s=0.1), answered())
    assert found.failures == {"empty-image": 2, "queue-full": 1}


def test_lanes_show_how_much_of_their_time_they_worked(server: Server) -> None:
    """One of two has been at work for five of the last ten seconds; there are none in the background."""
    before = server.scrape()
    server.service.scheduler.submit(-5.0, job(1, 100.0, at_s=-5.0))
    found = picture(Change(before, server.scrape(), 10.0))
    assert (found.foreground.lanes, found.foreground.busy) == (2, 1)
    assert found.foreground.utilisation == pytest.approx(0.25)
    assert found.background == LaneLine(0, 0, None)


def test_levels_are_those_of_now(server: Server) -> None:
    """Queue, arrivals, slow-down; two jobs run, one waits."""
    for number in range(3):
        server.service.scheduler.submit(-0.1, job(number, 10.0, at_s=-0.1))
    found = picture(Change(None, server.scrape(), 10.0))
    assert (found.waiting, found.insured, found.arrivals_per_s, found.slowdown, found.wasted) == (1, 0, 3, 1, 0)
    assert found.backlog_s > 0
    assert (found.version, found.refused, found.since_start, found.over_s) == (__version__, 1, True, 10.0)


def test_a_service_is_told_from_others_and_from_its_own_successor(server: Server) -> None:
    """By a metric that only it has, and by when its process began."""
    assert is_ours(server.scrape())
    assert not is_ours(read("up 1\n", 0.0))
    assert started_at(server.scrape()) > 1e9
