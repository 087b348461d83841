"""The latency model: coverage, forgetting, bases."""

import random

import pytest

from service.core.latency import Calibration, DecodeCost, LatencyModel, Observation, SlidingQuantile
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
    assert subject.slowdown == pytest.approx(1.6, rel=0.1)
    assert subject.expected_s("b4", 0.0) > 0.144 * 1.4


def test_one_outlier_does_not_move_the_slowdown() -> None:
    """A single hundredfold run is an outlier, not a slower machine."""
    subject = _model((1.0,) * 200)
    for number in range(9):
        subject.observe(_run("b0", 1.6 if number == 4 else 0.016))
    assert subject.slowdown == pytest.approx(1.0, rel=0.05)


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
    assert subject.expected_s("b0", 0.0) >= 0.5 * 0.016 * subject.slowdown * 0.3


def test_respond_reserve_follows_what_was_measured() -> None:
    """After enough slow responses the reserve is as slow."""
    subject = _model()
    for _ in range(200):
        subject.observe_respond(0.004)
    assert subject.respond_s() == pytest.approx(0.004)


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
    assert repr(_model((1.0,) * 200)) == "<LatencyModel slowdown=1.000 tail=1.000 runs=200>"


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
    assert subject.slowdown == pytest.approx(1.0, rel=0.1)
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
