"""What the overload figure counts."""

import json

import pytest

from benchmarks.clients import Reply, http_reply
from benchmarks.overload import Plan, Turn, kept, ratios, table, turn_of
from benchmarks.realtime.loader import LOST, Sent

ANSWER = {"decision": {"variant": "b0", "terminated": 0}, "budget": {"met": True}}
PLAN = Plan(loads=(1.5,), budgets="100:1", seconds=2.0, rounds=2, protocol="http")


def reply() -> Reply:
    """Some answer; the server's own view of it does not count here."""
    times = dict.fromkeys(("receive", "queue", "decode", "inference", "hold", "respond", "total"), 0.0)
    return http_reply(json.dumps(ANSWER | {"timing_ms": times}).encode(), client_ms=0.0)


def turn(policy: str, goodput_per_s: float, refused_ms: list[float]) -> Turn:
    """One of load 1.5."""
    return Turn(1.5, policy, goodput_per_s, goodput_per_s, refused_ms, refused_ms, {}, 0)


def test_an_answer_counts_when_it_is_within_its_budget_from_the_schedule_on() -> None:
    """Late answers are answers, and no goodput."""
    sent = [Sent(0.0, 0.1, 0.0, 0.09, reply()), Sent(0.1, 0.1, 0.05, 0.12, reply())]
    found = turn_of(sent, 1.5, "k1", seconds=2.0)
    assert (found.goodput_per_s, found.answered_per_s) == (0.5, 1.0)


def test_a_refusal_takes_from_sending_to_the_refusal() -> None:
    """What the loader was late is told beside it."""
    found = turn_of([Sent(0.0, 0.1, 0.004, 0.006, None, "HTTP 503")], 1.5, "k1", seconds=2.0)
    assert found.refused_ms == pytest.approx([2.0])
    assert found.refused_late_ms == pytest.approx([6.0])
    assert found.refusals == {"HTTP 503": 1}


def test_a_request_without_any_answer_is_lost_and_not_refused() -> None:
    """Nobody said no."""
    found = turn_of([Sent(0.0, 0.1, 0.0, 0.006, None, f"{LOST}reset")], 1.5, "k1", seconds=2.0)
    assert (found.lost, found.refused_ms) == (1, [])


def test_a_result_file_keeps_how_refusals_lie() -> None:
    """And how many were soon; not each of thousands."""
    told = kept(turn("k1", 50.0, [1.0, 3.0, 8.0]))
    assert told["refused_soon"] == 2
    assert isinstance(told["refused_ms"], dict)
    assert told["refused_ms"]["median"] == 3.0
    assert kept(turn("k1", 50.0, []))["refused_ms"] is None


def test_goodput_is_compared_round_by_round() -> None:
    """Both had the same schedule in a round."""
    turns = [turn("k1", 50.0, []), turn("b0", 100.0, []), turn("b0", 40.0, []), turn("k1", 40.0, [])]
    assert ratios(turns, 1.5) == [0.5, 1.0]


def test_the_table_has_a_row_for_each_load_and_policy() -> None:
    """Also where nothing was refused."""
    turns = [turn("k1", 50.0, [1.0, 6.0]), turn("b0", 50.0, []), turn("b0", 40.0, []), turn("k1", 40.0, [2.0])]
    rows = table(turns, PLAN).rows
    assert [row[:2] for row in rows] == [["1.5", "k1"], ["1.5", "b0"]]
    assert "66.7%" in rows[0]
