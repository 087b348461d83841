"""Reading metrics back: what two scrapes tell of the time in between."""

import random

import pytest

from service.telemetry.scrape import Change, Scrape, quantile, read, risen

TEXT = """\
# TYPE asked counter
asked_total{by="a",how="x"} 3
asked_total{by="a",how="y"} 4
asked_total{by="b",how="x"} 5
# TYPE depth gauge
depth 2
"""
BUCKETS = {0.01: 10.0, 0.02: 30.0, 0.05: 40.0, float("inf"): 40.0}


def scrape(at_s: float = 0.0, **asked: float) -> Scrape:
    """Counts by who asked."""
    lines = (f'asked_total{{by="{name}"}} {count}\n' for name, count in asked.items())
    return read("# TYPE asked counter\n" + "".join(lines), at_s)


def test_samples_are_summed_over_the_labels_that_are_not_asked_for() -> None:
    """All, some, one, none."""
    now = read(TEXT, 0.0)
    assert now.value("asked_total") == 12
    assert now.value("asked_total", by="a") == 7
    assert now.value("asked_total", how="x", by="b") == 5
    assert now.value("asked_total", by="c") == now.value("unheard_of") == 0


def test_samples_are_grouped_by_a_label() -> None:
    """The others are summed."""
    now = read(TEXT, 0.0)
    assert now.by("how", "asked_total") == {"x": 8, "y": 4}
    assert now.by("how", "asked_total", by="a") == {"x": 3, "y": 4}
    assert sorted(labels["how"] for labels, _ in now.labelled("asked_total")) == ["x", "x", "y"]


@pytest.mark.parametrize("text", ["<html></html>", "asked_total{", "asked_total much"])
def test_what_is_no_exposition_is_an_error(text: str) -> None:
    """For who asked the wrong server."""
    with pytest.raises(ValueError, match=r".*"):
        read(text, 0.0)


def test_a_rate_is_the_increase_over_the_time_in_between() -> None:
    """Of what has the labels; who is new began at 0."""
    change = Change(scrape(a=10, b=1), scrape(a=30, b=1, c=4), 5.0)
    assert change.increase("asked_total") == 24
    assert change.rate("asked_total", by="a") == 4
    assert change.by("by", "asked_total") == {"a": 20, "b": 0, "c": 4}


def test_without_an_earlier_scrape_it_is_the_whole() -> None:
    """Since the start."""
    assert Change(None, scrape(a=10, b=1), 2.0).rate("asked_total") == 5.5


def test_a_counter_that_fell_began_anew() -> None:
    """Each by itself, as in Prometheus: after a restart one may have passed its old count already."""
    assert [risen(10, 12), risen(10, 10), risen(10, 3), risen(10, 0)] == [2, 0, 3, 0]
    change = Change(scrape(a=10, b=1), scrape(a=3, b=7), 1.0)
    assert change.by("by", "asked_total") == {"a": 3, "b": 6}


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 0.0), (0.25, 0.01), (0.5, 0.015), (0.75, 0.02), (0.875, 0.035), (1.0, 0.05)]
)
def test_a_quantile_lies_evenly_within_its_bucket(share: float, expected: float) -> None:
    """Ten up to 10 ms, twenty more up to 20, ten more up to 50."""
    assert quantile(share, BUCKETS) == pytest.approx(expected)


def test_beyond_the_last_limit_nothing_is_known_but_that() -> None:
    """No invented figure."""
    assert quantile(0.99, BUCKETS | {float("inf"): 100.0}) == 0.05
    assert quantile(0.5, {float("inf"): 3.0}) == 0.0


def test_a_histogram_without_observations_has_no_quantile() -> None:
    """Nor has none."""
    assert quantile(0.5, dict.fromkeys(BUCKETS, 0.0)) is None
    assert quantile(0.5, {}) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_quantile_is_in_the_bucket_of_the_real_one(seed: int) -> None:
    """Whatever was observed."""
    draw = random.Random(seed)
    limits = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    seen = sorted(draw.uniform(0, 1) ** 3 for _ in range(draw.randint(1, 200)))
    buckets = {limit: float(sum(one <= limit for one in seen)) for limit in (*limits, float("inf"))}
    for share in (0.01, 0.5, 0.9, 0.99):
        real = seen[max(-int(-share * len(seen) // 1), 1) - 1]
        found = quantile(share, buckets)
        upper = min(limit for limit in limits if real <= limit)
        lower = max((limit for limit in limits if limit < real), default=0.0)
        assert found is not None
        assert lower <= found <= upper


def test_a_quantile_of_a_change_leaves_out_what_was_before() -> None:
    """Sixty slow ones an hour ago are no news."""
    before = read('t_bucket{le="0.1"} 0\nt_bucket{le="1"} 60\nt_bucket{le="+Inf"} 60\n', 0.0)
    now = read('t_bucket{le="0.1"} 10\nt_bucket{le="1"} 70\nt_bucket{le="+Inf"} 70\n', 10.0)
    assert Change(before, now, 10.0).quantile(0.99, "t") == pytest.approx(0.099)
    assert Change(now, now, 10.0).quantile(0.99, "t") is None
