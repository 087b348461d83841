"""Calibration with sessions that take exactly the time they are told to, on a clock of their own."""

import json
import threading
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import pytest

from service.core.latency import Calibration, DecodeCost
from service.core.values import ImageHeader, Source
from service.pipeline import termination
from service.pipeline.calibration import (
    MAX_RUNS,
    MIN_RUNS,
    PASSES,
    STOP_MARGIN,
    CalibrationFile,
    Calibrator,
    DecodeSample,
    Subject,
)
from service.pipeline.stop import Stop


class Clock(threading.local):
    """Seconds that pass only while something works; each thread has its own."""

    now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


class TimedSession:
    """Takes the given seconds in turn, the last ones over and over; stops within `stop_s`, if at all."""

    def __init__(self, clock: Clock, *seconds: float, stop_s: float | None = 0.003) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.stop_s = stop_s
        self._clock = clock
        self._seconds = seconds

    @property
    def runs(self) -> int:
        """How often it ran."""
        return len(self.shapes)

    def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """Let time pass."""
        self._clock.now_s += self._seconds[min(self.runs, len(self._seconds) - 1)]
        self.shapes.append(pixels.shape)
        return np.zeros((len(pixels), 2), np.float32)


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _known_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast a run stops is measured in real time, which `test_termination` is about."""

    def known(session: TimedSession, *_: object, **__: object) -> float | None:
        return session.stop_s

    monkeypatch.setattr(termination, "measure", known)


def subject(name: str, session: TimedSession, size: int = 32) -> Subject:
    """A variant whose graph has its name as checksum."""
    return Subject(name, f"sha-{name}", size, session)


def sample(image_format: str, megapixels: int) -> DecodeSample:
    """An image of so many million pixels, whose body is that number."""
    return DecodeSample(ImageHeader(image_format, 1000, 1000 * megapixels, 1), bytes([megapixels]))


SAMPLES = (sample("JPEG", 1), sample("JPEG", 3))


def calibrate(
    clock: Clock,
    *subjects: Subject,
    file: CalibrationFile | None = None,
    lanes: int = 1,
    decode_s: tuple[float, float] = (0.002, 0.001),
    samples: tuple[DecodeSample, ...] = SAMPLES,
    seconds: float = 1.0,
) -> Calibration:
    """Decoding takes `decode_s[0]` plus `decode_s[1]` for each million pixels."""

    def decode(body: Source) -> None:
        assert isinstance(body, bytes)
        clock.now_s += decode_s[0] + decode_s[1] * body[0]

    calibrator = Calibrator(lanes=lanes, file=file, seconds_per_variant=seconds, clock=clock)
    return calibrator.calibrate(subjects, samples, decode)


# Measuring.


def test_each_variant_gets_its_usual_time(clock: Clock) -> None:
    """One slow run does not count."""
    slow_once = TimedSession(clock, 0.5, 0.3, 9.0, 0.3)
    found = calibrate(clock, subject("b0", TimedSession(clock, 0.1)), subject("b1", slow_once))
    assert found.inference_s == pytest.approx({"b0": 0.1, "b1": 0.3})


def test_other_work_during_one_turn_does_not_change_the_order_of_variants(clock: Clock) -> None:
    """The whole first turn of b0 is five times slower; its second is not."""
    disturbed = TimedSession(clock, *[0.5] * (1 + 2), 0.1)
    found = calibrate(clock, subject("b0", disturbed), subject("b1", TimedSession(clock, 0.2)), seconds=0.4)
    assert found.inference_s["b0"] < found.inference_s["b1"]


def test_the_first_run_of_a_turn_is_not_measured(clock: Clock) -> None:
    """It pays for allocations."""
    session = TimedSession(clock, 5.0, *[0.1] * MIN_RUNS, 5.0, 0.1)
    found = calibrate(clock, subject("b0", session), seconds=0.01)
    assert found.inference_s["b0"] == pytest.approx(0.1)
    assert found.ratios == pytest.approx((1.0,) * MIN_RUNS * PASSES)


def test_a_machine_that_is_always_slower_than_its_best_run_is_expected_to_be(clock: Clock) -> None:
    """Most runs take 0.2 s, the best one 0.1 s: the base is what is usual."""
    found = calibrate(clock, subject("b0", TimedSession(clock, 0.9, 0.1, 0.2)), seconds=0.01)
    assert found.inference_s["b0"] == pytest.approx(0.2)
    assert sorted(found.ratios) == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_ratios_of_all_variants_are_pooled(clock: Clock) -> None:
    """Whatever a variant's own time, ratios have a median of one."""
    found = calibrate(clock, *(subject(f"b{n}", TimedSession(clock, 1.0 * n, 0.9 * n, 1.2 * n)) for n in (1, 2, 3)))
    assert len(found.ratios) == 3 * MIN_RUNS * PASSES
    assert median(found.ratios) == pytest.approx(1.0)


@pytest.mark.parametrize(("run_s", "runs"), [(0.001, MAX_RUNS), (0.05, 10), (2.0, MIN_RUNS)])
def test_runs_fill_the_seconds_within_bounds(clock: Clock, run_s: float, runs: int) -> None:
    """Half a second a turn: many of a fast network, ten of 50 ms, two of a slow one."""
    session = TimedSession(clock, run_s)
    calibrate(clock, subject("b0", session))
    assert session.runs == PASSES * (1 + runs)


def test_every_lane_runs_every_variant(clock: Clock) -> None:
    """Each lane measures as often as a lone one would; then one does, half as often."""
    session = TimedSession(clock, 2.0)
    found = calibrate(clock, subject("b0", session), lanes=3)
    assert session.runs == 3 * PASSES * (1 + MIN_RUNS) + PASSES * MIN_RUNS / 2
    assert len(found.ratios) == 3 * PASSES * MIN_RUNS


def test_a_lone_run_has_a_usual_time_of_its_own(clock: Clock) -> None:
    """0.2 s while both lanes run, 0.1 s alone: the ratios are those of a busy machine."""
    turn = [0.2] * 2 * (1 + MIN_RUNS) + [0.1] * (MIN_RUNS // 2)
    found = calibrate(clock, subject("b0", TimedSession(clock, *turn * PASSES)), lanes=2, seconds=0.01)
    assert found.inference_s == pytest.approx({"b0": 0.2})
    assert found.alone_s == pytest.approx({"b0": 0.1})
    assert found.ratios == pytest.approx((1.0,) * 2 * MIN_RUNS * PASSES)
    assert found.lanes == 2


def test_a_single_lane_is_always_alone(clock: Clock) -> None:
    """Nothing is measured twice."""
    found = calibrate(clock, subject("b0", TimedSession(clock, 0.1)))
    assert (found.alone_s, found.lanes) == ({}, 1)


def test_a_session_is_given_single_images_of_its_size(clock: Clock) -> None:
    """[1, size, size, 3]."""
    session = TimedSession(clock, 2.0)
    calibrate(clock, subject("b0", session, size=48))
    assert set(session.shapes) == {(1, 48, 48, 3)}


def test_a_session_that_fails_ends_the_calibration(clock: Clock) -> None:
    """A variant that cannot run must not be served."""

    class Broken(TimedSession):
        def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
            raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        calibrate(clock, subject("b0", Broken(clock, 1.0)))


# Stopping.


def test_terminated_runs_stop_within_twice_the_time_of_the_slowest_variant(clock: Clock) -> None:
    """The rule does not ask which variant it terminates."""
    quick, slow = TimedSession(clock, 0.1, stop_s=0.001), TimedSession(clock, 0.2, stop_s=0.004)
    found = calibrate(clock, subject("b0", quick), subject("b1", slow))
    assert found.terminate_s == pytest.approx(STOP_MARGIN * 0.004)


def test_one_variant_that_does_not_stop_is_enough_for_no_termination(clock: Clock) -> None:
    """The rule counts on all of them."""
    deaf = TimedSession(clock, 0.2, stop_s=None)
    assert calibrate(clock, subject("b0", TimedSession(clock, 0.1)), subject("b1", deaf)).terminate_s is None


def test_runs_too_short_to_be_stopped_are_no_hindrance(clock: Clock) -> None:
    """Their lanes are free at once."""
    assert calibrate(clock, subject("b0", TimedSession(clock, 0.1, stop_s=0.0))).terminate_s == 0.0


def test_a_run_is_stopped_in_a_share_of_its_shortest_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it has begun and not ended, on an image of the variant's size."""
    shapes: list[tuple[int, ...]] = []
    usual: list[float] = []

    def noted(_: TimedSession, pixels: npt.NDArray[np.uint8], *, usual_s: float, **__: object) -> float:
        shapes.append(pixels.shape)
        usual.append(usual_s)
        return 0.0

    monkeypatch.setattr(termination, "measure", noted)
    calibrate(clock, subject("b0", TimedSession(clock, 0.4, 0.2, 0.3, 0.3), size=48), seconds=0.01)
    assert shapes == [(1, 48, 48, 3)]
    assert usual == pytest.approx([0.2])


# Decoding.


def test_decoding_is_a_line_through_both_samples(clock: Clock) -> None:
    """2 ms, and 1 ms for each million pixels."""
    cost = calibrate(clock).decode["JPEG"]
    assert (cost.fixed_s, cost.per_megapixel_s) == pytest.approx((0.002, 0.001))


def test_each_format_has_its_own_line(clock: Clock) -> None:
    """In the order of the samples or not."""
    samples = (sample("PNG", 4), sample("PNG", 1), *SAMPLES)
    assert calibrate(clock, samples=samples).decode.keys() == {"JPEG", "PNG"}


def test_decoding_never_gets_cheaper_with_size(clock: Clock) -> None:
    """Noise that says so is not believed."""
    cost = calibrate(clock, decode_s=(0.01, -0.002)).decode["JPEG"]
    assert cost.per_megapixel_s == 0.0
    assert cost.fixed_s == pytest.approx(0.008)


def test_the_fixed_part_is_never_negative(clock: Clock) -> None:
    """A line that would cross zero is lifted."""
    assert calibrate(clock, decode_s=(-0.001, 0.002)).decode["JPEG"].fixed_s > 0


# The file.


def test_a_second_start_takes_what_the_first_measured(tmp_path: Path, clock: Clock) -> None:
    """Though the machine would now measure something else."""
    first = calibrate(clock, subject("b0", TimedSession(clock, 0.1)), file=CalibrationFile(tmp_path, "cpu"))
    slower = subject("b0", TimedSession(clock, 0.9))
    second = calibrate(clock, slower, file=CalibrationFile(tmp_path, "cpu"), samples=())
    assert second == first


def test_a_second_start_runs_nothing(tmp_path: Path, clock: Clock) -> None:
    """The file knows it all; sessions are warmed where they are opened."""
    for _ in range(2):
        session = TimedSession(clock, 0.1)
        calibrate(clock, subject("b0", session), file=CalibrationFile(tmp_path, "cpu"), lanes=2)
    assert session.runs == 0


def test_a_second_start_knows_what_a_lone_run_takes(tmp_path: Path, clock: Clock) -> None:
    """The file has both levels."""
    file = CalibrationFile(tmp_path, "cpu")
    first = calibrate(clock, subject("b0", TimedSession(clock, 0.1)), file=file, lanes=2)
    assert CalibrationFile(tmp_path, "cpu").calibration({"b0": "sha-b0"}, 2) == first
    assert first.alone_s == pytest.approx({"b0": 0.1})


@pytest.mark.parametrize("stop_s", [0.002, 0.0, None])
def test_a_second_start_knows_how_fast_runs_stop(tmp_path: Path, clock: Clock, stop_s: float | None) -> None:
    """Or that they do not."""
    for known in (stop_s, 0.5):
        one = subject("b0", TimedSession(clock, 0.1, stop_s=known))
        found = calibrate(clock, one, file=CalibrationFile(tmp_path, "cpu"))
    assert found.terminate_s == (None if stop_s is None else pytest.approx(STOP_MARGIN * stop_s))
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["variants"]["sha-b0"]["stop_s"] == stop_s


def test_another_fingerprint_is_measured_anew(tmp_path: Path, clock: Clock) -> None:
    """Another machine, another layout: another file."""
    calibrate(clock, subject("b0", TimedSession(clock, 0.1)), file=CalibrationFile(tmp_path, "cpu"))
    other = calibrate(clock, subject("b0", TimedSession(clock, 0.4)), file=CalibrationFile(tmp_path, "other cpu"))
    assert other.inference_s["b0"] == pytest.approx(0.4)


def test_both_fingerprints_are_kept(tmp_path: Path, clock: Clock) -> None:
    """A folder shared by two machines serves both."""
    for fingerprint, seconds in (("cpu", 0.1), ("other cpu", 0.4)):
        calibrate(clock, subject("b0", TimedSession(clock, seconds)), file=CalibrationFile(tmp_path, fingerprint))
    again = calibrate(clock, subject("b0", TimedSession(clock, 0.9)), file=CalibrationFile(tmp_path, "cpu"))
    assert again.inference_s["b0"] == pytest.approx(0.1)


def test_a_new_graph_is_measured_beside_the_known_ones(tmp_path: Path, clock: Clock) -> None:
    """b0 from the file, b1 from its runs."""
    calibrate(clock, subject("b0", TimedSession(clock, 0.1)), file=CalibrationFile(tmp_path, "cpu"))
    both = [subject("b0", TimedSession(clock, 0.9)), subject("b1", TimedSession(clock, 0.3))]
    found = calibrate(clock, *both, file=CalibrationFile(tmp_path, "cpu"))
    assert found.inference_s == pytest.approx({"b0": 0.1, "b1": 0.3})


def test_a_changed_graph_of_the_same_name_is_measured_anew(tmp_path: Path, clock: Clock) -> None:
    """The checksum counts, not the name."""
    calibrate(clock, subject("b0", TimedSession(clock, 0.1)), file=CalibrationFile(tmp_path, "cpu"))
    rebuilt = Subject("b0", "sha-of-another-graph", 32, TimedSession(clock, 0.9))
    assert calibrate(clock, rebuilt, file=CalibrationFile(tmp_path, "cpu")).inference_s["b0"] == pytest.approx(0.9)


def with_b0(measured: bytes) -> bytes:
    """A file that says this of b0."""
    return b'{"schema": 6, "fingerprint": "cpu", "variants": {"sha-b0": %s}, "decode": {}}' % measured


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"{}",
        b'{"schema": 1, "fingerprint": "cpu", "variants": {}, "decode": {}}',
        b'{"schema": 3, "fingerprint": "cpu", "variants": {"sha-b0": {"base_s": 9, "ratios": [1]}}, "decode": {}}',
        b'{"schema": 4, "fingerprint": "cpu", "variants": {"sha-b0": {"base_s": 9, "ratios": [1], "stop_s": 0}}}',
        with_b0(b'{"base_s": 9, "ratios": [1], "stop_s": 0}'),
        with_b0(b'{"base_s": 9, "ratios": [1], "stop_s": 0, "alone_s": 0}'),
        b'{"schema": 5, "fingerprint": "cpu", "variants": {}, "decode": {}}',
        b'{"schema": 6, "fingerprint": "cpu", "variants": [], "decode": {}}',
        with_b0(b"{}"),
        with_b0(b'{"base_s": "x", "ratios": [1], "stop_s": 0, "alone_s": null}'),
        with_b0(b'{"base_s": 0, "ratios": [1], "stop_s": 0, "alone_s": null}'),
        with_b0(b'{"base_s": NaN, "ratios": [1], "stop_s": 0, "alone_s": null}'),
        with_b0(b'{"base_s": 9, "ratios": [1], "stop_s": -1, "alone_s": null}'),
        with_b0(b'{"base_s": 9, "ratios": [1], "stop_s": NaN, "alone_s": null}'),
        b'{"schema": 6, "fingerprint": "cpu", "variants": {}, "decode": {"quick": {"JPEG": {"cost": 1}}}}',
        b'{"schema": 6, "fingerprint": "cpu", "variants": {}, "decode": {"quick": {"JPEG": 1}}}',
        b'{"schema": 6, "fingerprint": "cpu", "variants": {}, "decode": {"other": {}}}',
    ],
)
def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path: Path, clock: Clock, content: bytes) -> None:
    """Cut short, of another schema, or edited by hand: measuring again costs seconds, a failed start costs more."""
    CalibrationFile(tmp_path, "cpu").keep({}, {})
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(content)
    found = calibrate(clock, subject("b0", TimedSession(clock, 0.1)), file=CalibrationFile(tmp_path, "cpu"))
    assert found.inference_s["b0"] == pytest.approx(0.1)
    assert json.loads(path.read_text())["variants"]["sha-b0"]["base_s"] == pytest.approx(0.1)


def test_the_folder_is_made_and_nothing_else_is_left_in_it(tmp_path: Path) -> None:
    """No temporary file stays behind."""
    CalibrationFile(tmp_path / "deep" / "er", "cpu").keep({}, {"JPEG": DecodeCost(0.1, 0.2)})
    assert [path.suffix for path in (tmp_path / "deep" / "er").iterdir()] == [".json"]


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    """Decode costs, by format."""
    CalibrationFile(tmp_path, "cpu").keep({}, {"JPEG": DecodeCost(0.1, 0.2)})
    assert CalibrationFile(tmp_path, "cpu").decode() == {"JPEG": DecodeCost(0.1, 0.2)}


def test_decoding_is_known_by_the_way_in_which_pixels_are_made(tmp_path: Path, clock: Clock) -> None:
    """Exact ones take longer. What a graph takes is the same."""
    first = calibrate(clock, subject("b0", TimedSession(clock, 0.1)), file=CalibrationFile(tmp_path, "cpu"))
    exact = CalibrationFile(tmp_path, "cpu", exact=True)
    assert exact.decode() == {}
    assert exact.calibration({"b0": "sha-b0"}, 1) is None
    exact.keep({}, {"JPEG": DecodeCost(0.3, 0.4)})
    assert CalibrationFile(tmp_path, "cpu").calibration({"b0": "sha-b0"}, 1) == first
    again = CalibrationFile(tmp_path, "cpu", exact=True).calibration({"b0": "sha-b0"}, 1)
    assert again is not None
    assert again.decode == {"JPEG": DecodeCost(0.3, 0.4)}
    assert again.inference_s == first.inference_s


def test_a_graph_nobody_measured_is_unknown(tmp_path: Path) -> None:
    """None, not a guess."""
    assert CalibrationFile(tmp_path, "cpu").variant("sha") is None


def test_without_a_file_everything_is_measured(clock: Clock) -> None:
    """Each time."""
    for seconds in (0.1, 0.4):
        assert calibrate(clock, subject("b0", TimedSession(clock, seconds))).inference_s["b0"] == pytest.approx(seconds)


def test_a_large_sample_shows_where_the_price_by_the_pixel_changes(clock: Clock) -> None:
    """Up to 3 megapixels 1 ms each, beyond a quarter of it."""
    samples = (*SAMPLES, sample("JPEG", 12))

    def decode(body: Source) -> None:
        assert isinstance(body, bytes)
        clock.now_s += 0.002 + 0.001 * min(body[0], 3) + 0.00025 * max(body[0] - 3, 0)

    calibrator = Calibrator(lanes=1, file=None, clock=clock)
    cost = calibrator.calibrate([subject("b0", TimedSession(clock, 0.1))], samples, decode).decode["JPEG"]
    assert cost.expected_s(2.0) == pytest.approx(0.004)
    assert cost.expected_s(12.0) == pytest.approx(0.002 + 0.003 + 9 * 0.00025)


def test_a_very_long_run_counts_as_twice_the_usual(clock: Clock) -> None:
    """It was other work; whether that is the machine's habit, live runs will tell."""
    found = calibrate(clock, subject("b0", TimedSession(clock, 0.1, 0.1, 9.0, 0.1)), seconds=0.01)
    assert max(found.ratios) == 2.0


def test_a_folder_that_cannot_be_written_to_costs_no_start(tmp_path: Path, clock: Clock) -> None:
    """A file is where the folder should be: the measurements are used and not kept."""
    (tmp_path / "blocked").write_text("")
    announced: list[str] = []
    file = CalibrationFile(tmp_path / "blocked", "cpu")
    calibrator = Calibrator(lanes=1, file=file, clock=clock, progress=announced.append)
    found = calibrator.calibrate([subject("b0", TimedSession(clock, 0.1))], (), lambda _: None)
    assert found.inference_s["b0"] == pytest.approx(0.1)
    assert "could not be kept" in announced[-1]


# Beside other work.


class WaitingSession(TimedSession):
    """Waits for a core, for as long as it works, in the first `waits` runs."""

    def __init__(self, clock: Clock, own: Clock, seconds: float, *, waits: int) -> None:
        super().__init__(clock, seconds)
        self._own, self._waits = own, waits

    def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """Let both times pass."""
        self._own.now_s += self._seconds[0]
        if self.runs < self._waits:
            self._clock.now_s += self._seconds[0]
        return super().run(pixels, stop)


def test_waiting_for_a_core_is_no_part_of_what_a_run_costs(clock: Clock) -> None:
    """Each run of b1 takes 0.4 s by the clock, half of which it works."""
    own = Clock()
    calibrator = Calibrator(lanes=2, file=None, clock=clock, own_clock=own)
    subjects = [
        subject("b0", WaitingSession(clock, own, 0.1, waits=0)),
        subject("b1", WaitingSession(clock, own, 0.2, waits=1000)),
    ]
    found = calibrator.calibrate(subjects, (), lambda _: None)
    assert found.inference_s == pytest.approx({"b0": 0.1, "b1": 0.2})
    assert found.alone_s == pytest.approx({"b0": 0.1, "b1": 0.2})


def test_runs_that_waited_make_the_first_bounds_careful(clock: Clock) -> None:
    """They took twice as long as they worked, and so may the next ones."""
    own = Clock()
    calibrator = Calibrator(lanes=1, file=None, clock=clock, own_clock=own)
    found = calibrator.calibrate([subject("b0", WaitingSession(clock, own, 0.1, waits=1000))], (), lambda _: None)
    assert found.ratios == pytest.approx([2.0] * len(found.ratios))


@pytest.mark.parametrize(("waits", "told"), [(0, False), (1000, True)])
def test_a_start_says_that_other_work_has_the_cores(clock: Clock, waits: int, told: bool) -> None:
    """And nothing on a machine of its own."""
    own, announced = Clock(), list[str]()
    calibrator = Calibrator(lanes=1, file=None, clock=clock, own_clock=own, progress=announced.append)
    calibrator.calibrate([subject("b0", WaitingSession(clock, own, 0.1, waits=waits))], (), lambda _: None)
    assert ("waited 50%" in announced[-1]) is told
