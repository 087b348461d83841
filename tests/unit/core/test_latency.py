"""The latency model: coverage, forgetting, bases."""

import random

import pytest

from service.core.latency import MOST_RESPOND_S, Calibration, DecodeCost, LatencyModel, Observation
from service.core.quantile import SlidingQuantile
from service.core.values import ImageHeader


def _model(ratios: tuple[float, ...] = (), *, miss_rate: float = 0.01) -> LatencyModel:
    calibration = Calibration({"b0": 0.016, "b4": 0.144}, {"JPEG": DecodeCost(0.001, 0.010)}, ratios)
    return LatencyModel(calibration, miss_rate=miss_rate)


def _run(variant: str, inference_s: float, *, expected_decode_s: float = 0.0, decode_s: float = 0.0) -> Observation:
    return Observation(variant, "JPEG", expected_decode_s, decode_s, inference_s)


def test_expected_time_is_the_base_when_runs_are_as_calibrated() -> None:
    """Without surprises the mean is the calibrated median plus the decode time."""
    assert _model((1.0,) * 100).expected_s("b4", 0.004) == pytest.approx(0.148)


def test_decode_time_grows_with_the_source() -> None:
    """Twice the megapixels cost twice the variable part."""
    small, large = ImageHeader("JPEG", 1000, 500, 1), ImageHeader("JPEG", 1000, 1000, 1)
    assert _model().expected_decode_s(small) == pytest.approx(0.006)
    assert _model().expected_decode_s(large) == pytest.approx(0.011)


def test_tail_is_the_conformal_order_statistic() -> None:
    """With 99 ratios the 99 % bound is the largest of them: rank ceil(100 × 0.99) = 99."""
    ratios = tuple(n / 20 for n in range(1, 100))
    assert _model(ratios).tail_s("b0", 0.0) == pytest.approx(0.016 * 99 / 20)


def test_tail_is_cautious_while_there_are_too_few_runs() -> None:
    """98 ratios cannot bound 1 %: the largest counts one and a half times."""
    assert _model((1.0,) * 97 + (1.2,)).tail_s("b0", 0.0) == pytest.approx(0.016 * 1.8)


def test_tail_without_any_run_is_one_and_a_half_times_the_base() -> None:
    """A model that knows only bases still bounds."""
    assert _model().tail_s("b0", 0.0) == pytest.approx(0.024)


def test_tail_covers_the_stated_share_of_stationary_runs() -> None:
    """The guarantee itself: the long-run share of runs above the bound is the miss rate, within noise."""
    draw = random.Random(1)
    subject, above, runs = _model(miss_rate=0.05), 0, 6000
    for _ in range(runs):
        seconds = 0.016 * draw.lognormvariate(0.0, 0.1)
        above += seconds > subject.tail_s("b0", 0.0)
        subject.observe(_run("b0", seconds))
    assert above / runs == pytest.approx(0.05, abs=0.015)


def test_nine_runs_of_one_variant_teach_the_slowdown_for_all() -> None:
    """The slow-down is pooled: after nine slow runs of b0, b4 is expected to be slower too."""
    subject = _model((1.0,) * 200)
    for _ in range(9):
        subject.observe(_run("b0", 0.016 * 1.6))
    assert subject.statistics().slowdown == pytest.approx(1.6, rel=0.1)
    assert subject.expected_s("b4", 0.0) > 0.144 * 1.4


def test_one_outlier_does_not_move_the_slowdown() -> None:
    """A single hundredfold run is an outlier, not a slower machine."""
    subject = _model((1.0,) * 200)
    for number in range(9):
        subject.observe(_run("b0", 1.6 if number == 4 else 0.016))
    assert subject.statistics().slowdown == pytest.approx(1.0, rel=0.05)


def test_runs_that_take_no_time_leave_finite_predictions() -> None:
    """A clock too coarse to see a run must not lead to a division by zero."""
    subject = _model((1.0,) * 200)
    for _ in range(20):
        subject.observe(_run("b0", 0.0))
    assert 0 < subject.expected_s("b0", 0.0) < 1


def test_a_base_never_leaves_half_to_double_of_its_calibration() -> None:
    """However long a variant surprises, its base is clipped; the ratios carry the rest."""
    subject = _model((1.0,) * 200)
    for _ in range(2000):
        subject.observe(_run("b0", 0.0001))
        subject.observe(_run("b4", 0.144))
    assert subject.expected_s("b0", 0.0) >= 0.5 * 0.016 * subject.statistics().slowdown * 0.3


def test_a_variant_that_runs_alone_keeps_its_base() -> None:
    """Slow or dear cannot be told apart then, so it is the machine; the order of the variants stays what it was."""
    subject, noise = _model((1.0,) * 200), random.Random(0)
    for _ in range(3000):
        subject.observe(_run("b0", 0.032 * noise.lognormvariate(0, 0.1)))
    assert subject.statistics().slowdown == pytest.approx(2.0, rel=0.1)
    assert subject.expected_s("b4", 0.0) / subject.expected_s("b0", 0.0) == pytest.approx(9.0)


def test_respond_reserve_follows_what_was_measured() -> None:
    """After enough slow responses the reserve is as slow."""
    subject = _model()
    for _ in range(200):
        subject.observe_respond(0.004)
    assert subject.respond_s() == pytest.approx(0.004)


def test_a_rare_slow_response_is_kept_back_for_and_not_expected() -> None:
    """One in twenty takes 10 ms, the others 1."""
    subject = _model()
    for number in range(200):
        subject.observe_respond(0.01 if number % 20 == 0 else 0.001)
    assert (subject.respond_s(), subject.expected_respond_s()) == pytest.approx((0.01, 0.00145))


def test_sliding_quantile_forgets_the_oldest() -> None:
    """Only the last `size` samples count."""
    window = SlidingQuantile(3, [9.0, 1.0, 2.0, 3.0])
    assert (len(window), window.largest(0.0), window.mean()) == (3, 3.0, 2.0)


def test_an_unknown_format_is_a_key_error() -> None:
    """The pipeline reads fixed formats; another one is a programming error, not a guess."""
    with pytest.raises(KeyError):
        _model().expected_decode_s(ImageHeader("TIFF", 1, 1, 1))


def test_its_repr_shows_the_live_numbers() -> None:
    """What one wants to know in a debugger."""
    assert repr(_model((1.0,) * 200)) == "<LatencyModel slowdown=1.000 tail=1.000 miss_rate=0.0100 runs=200>"


def test_a_suspended_run_counts_for_no_more_than_five() -> None:
    """A machine that slept for half a minute says nothing about the next run."""
    subject = _model((1.0,) * 200)
    subject.observe(_run("b0", 30.0))
    assert subject.expected_s("b0", 0.0) < 0.016 * 1.05


def test_nine_odd_images_do_not_change_what_inference_is_expected_to_take() -> None:
    """Their decoding was far cheaper than their headers said; the machine is as fast as before."""
    subject = _model((1.0,) * 200)
    for _ in range(9):
        subject.observe(_run("b0", 0.016, expected_decode_s=0.145, decode_s=0.020))
    assert subject.statistics().slowdown == pytest.approx(1.0, rel=0.1)
    assert subject.tail_s("b4", 0.004) == pytest.approx(0.148, rel=0.15)


def test_a_stall_of_the_event_loop_is_no_habit() -> None:
    """Half a second once does not eat half a second of every budget."""
    subject = _model()
    subject.observe_respond(0.6)
    assert subject.respond_s() <= 0.02


def test_forgetting_goes_back_to_calibration() -> None:
    """Whatever a bad moment taught."""
    subject, fresh = _model((1.0,) * 200), _model((1.0,) * 200)
    for _ in range(50):
        subject.observe(_run("b0", 0.1))
        subject.observe_respond(0.02)
    subject.forget()
    assert subject.tail_s("b4", 0.004) == fresh.tail_s("b4", 0.004)
    assert subject.respond_s() == fresh.respond_s()


def test_live_runs_displace_what_calibration_saw() -> None:
    """A disturbed calibration is out of the window after as many quiet runs, not after six hundred."""
    subject = _model((1.0,) * 180 + (4.0,) * 20)
    for _ in range(200):
        subject.observe(_run("b0", 0.016))
    assert subject.tail_s("b0", 0.0) == pytest.approx(0.016, rel=0.1)


def test_beyond_the_knee_decoding_grows_at_another_rate() -> None:
    """Large JPEGs are decoded at a reduced scale."""
    cost = DecodeCost(0.001, 0.010, knee_megapixels=1.0, per_megapixel_beyond_s=0.003)
    assert cost.expected_s(0.5) == pytest.approx(0.006)
    assert cost.expected_s(12.0) == pytest.approx(0.001 + 0.010 + 0.033)


def test_a_base_is_held_at_twice_its_calibration() -> None:
    """A variant that is always four times slower than the others say: the base doubles, the ratios carry the rest."""
    subject = _model((1.0,) * 200)
    for _ in range(400):
        for _ in range(9):
            subject.observe(_run("b0", 0.016))
        subject.observe(_run("b4", 0.144 * 4))
    assert subject._inference["b4"] == pytest.approx(2 * 0.144)


def test_runs_without_decoding_teach_nothing_about_decoding() -> None:
    """An image that comes decoded and at the right size is expected to take no time."""
    subject, photo = _model((1.0,) * 200), ImageHeader("JPEG", 1000, 1000, 1)
    before_s = subject.expected_decode_s(photo)
    for _ in range(20):
        subject.observe(_run("b0", 0.016, decode_s=0.00002))
    assert subject.expected_decode_s(photo) == before_s


# How many lanes are busy.


def _levels(alone_s: float, *, lanes: int = 3) -> LatencyModel:
    return LatencyModel(
        Calibration(
            {"b0": 0.020, "b4": 0.1}, {"JPEG": DecodeCost(0.0, 0.0)}, (1.0,) * 200, None, {"b0": alone_s}, lanes
        )
    )


def test_a_lone_run_is_expected_to_take_what_a_lone_run_takes() -> None:
    """12 ms alone, 20 ms when all three lanes work, in the middle between; b4 was not measured alone."""
    subject = _levels(0.012)
    assert [subject.at(busy).expected_s("b0", 0.0) for busy in (1, 2, 3, 4)] == pytest.approx(
        [0.012, 0.016, 0.020, 0.020]
    )
    assert subject.at(1).tail_s("b0", 0.0) == pytest.approx(0.012)
    assert subject.at(1).expected_s("b4", 0.0) == pytest.approx(0.1)


def test_the_table_shows_a_busy_machine() -> None:
    """Who does not say how many lanes are at work gets the cautious figure."""
    assert _levels(0.012).expected_s("b0", 0.0) == pytest.approx(0.020)


@pytest.mark.parametrize("alone_s", [0.019, 0.020, 0.030])
def test_levels_that_are_hardly_apart_are_one(alone_s: float) -> None:
    """Within a tenth; and a lone run that measured slower was disturbed."""
    assert _levels(alone_s).at(1).expected_s("b0", 0.0) == pytest.approx(0.020)


def test_a_lone_run_that_takes_its_usual_time_is_no_news() -> None:
    """It neither speeds the machine up nor lowers the base of a busy one."""
    subject = _levels(0.012)
    for _ in range(50):
        subject.observe(_run("b0", 0.012), busy=1)
    assert subject.statistics().slowdown == pytest.approx(1.0, rel=0.02)
    assert subject.expected_s("b0", 0.0) == pytest.approx(0.020, rel=0.02)


def test_each_level_follows_its_own_runs() -> None:
    """Calibrated while others took a core, a lone run seemed to take 12 ms; it takes 18, and 20 among others."""
    subject = _levels(0.012)
    for _ in range(100):
        for busy, seconds in ((1, 0.018), (3, 0.020), (3, 0.020)):
            subject.observe(_run("b0", seconds), busy=busy)
    assert subject.at(1).expected_s("b0", 0.0) == pytest.approx(0.018, rel=0.05)
    assert subject.at(3).expected_s("b0", 0.0) == pytest.approx(0.020, rel=0.05)


def test_a_run_between_the_levels_teaches_both() -> None:
    """Two of three lanes: half as slow again as expected, though the machine is not, so both bases are too low."""
    subject = _levels(0.012)
    for _ in range(20):
        for _ in range(9):
            subject.observe(_run("b4", 0.1), busy=2)
        subject.observe(_run("b0", 0.024), busy=2)
    assert subject.at(1).expected_s("b0", 0.0) > 0.012 * 1.1
    assert subject.at(3).expected_s("b0", 0.0) > 0.020 * 1.1


def test_reserves_are_the_same_however_many_are_busy() -> None:
    """The response and a termination do not depend on other lanes, as far as anybody knows."""
    subject = _levels(0.012)
    assert (subject.at(1).respond_s(), subject.at(1).terminate_s()) == (subject.respond_s(), None)


def test_a_hand_over_takes_what_runs_kept_their_lanes_longer_than_they_took() -> None:
    """In the mean; nothing before the first run."""
    subject = _model()
    assert subject.dispatch_s() == 0.0
    for seconds in (0.001, 0.003):
        subject.observe_dispatch(seconds)
    assert subject.dispatch_s() == subject.at(1).dispatch_s() == pytest.approx(0.002)
    assert subject.statistics().dispatch_s == pytest.approx(0.002)


@pytest.mark.parametrize(("seconds", "counted_s"), [(-0.001, 0.0), (5.0, MOST_RESPOND_S)])
def test_a_hand_over_is_never_negative_and_a_stall_is_no_habit(seconds: float, counted_s: float) -> None:
    """Clocks of two threads, a suspended machine."""
    subject = _model()
    subject.observe_dispatch(seconds)
    assert subject.dispatch_s() == counted_s


def test_hand_overs_are_no_part_of_what_a_variant_costs() -> None:
    """They keep lanes, and budgets have a reserve of their own for the way out."""
    subject = _model()
    before = subject.expected_s("b0", 0.0), subject.tail_s("b0", 0.0)
    subject.observe_dispatch(0.01)
    assert (subject.expected_s("b0", 0.0), subject.tail_s("b0", 0.0)) == before
