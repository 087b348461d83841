"""The study of G16 networks, on drawings and networks of few channels: it runs, goes on, and its tables can be made."""

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="torch is not installed; `make torch` runs these")

from benchmarks import report  # noqa: E402
from benchmarks.g16 import accuracy, latency, page, throughput  # noqa: E402
from benchmarks.g16.__main__ import Effort, main, study  # noqa: E402
from benchmarks.g16.study import Arm, Study, arms, read  # noqa: E402
from benchmarks.g16.training import NETWORKS, Plan, train  # noqa: E402
from model_store.builder.spec import Spec, custom, resolve  # noqa: E402
from model_store.trained import read_header  # noqa: E402
from model_store.training.job import Epoch, TrainingError  # noqa: E402
from tests.torch.images import SHAPES, write_shapes  # noqa: E402

TINY = custom("b0", width=0.5, depth=0.3, resolution=96)
SPECS = tuple(
    replace(TINY, name=name, group_width=full.group_width, expansion=full.expansion, norm=full.norm)
    for name, full in ((name, resolve(name)) for name in NETWORKS)
)
SHORT = Effort(throughput.Effort(rounds=2, steps=1), latency.Effort(rounds=2, runs=2))
OPTIONS = {"batch_size": 4, "warm_up_epochs": 0.5}
SIX = [Arm(network, regime) for network in NETWORKS for regime in ("native", "reduced")]


class Silent:
    """Counts steps and remembers what it was told. `stop_at`: raise at that step of all, as a kill would end it."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.steps = 0
        self.sizes: list[tuple[str, int]] = []
        self._stop_at = stop_at

    def step(self, done: int, total: int, epoch: int, loss: float) -> None:
        """Count."""
        self.steps += 1
        if self.steps == self._stop_at:
            raise KeyboardInterrupt

    def epoch(self, epoch: Epoch) -> None:
        """Remember its phase and size."""
        self.sizes.append((epoch.phase, epoch.size_px))

    def remark(self, text: str) -> None:
        """Nobody listens."""


def plan(folder: Path, specs: tuple[Spec, ...] = SPECS, seeds: tuple[int, ...] = (0,)) -> Plan:
    """Twelve images of three classes, one epoch and one of fine-tuning."""
    data, validation = folder / "train.zip", folder / "val.zip"
    if not data.exists():
        write_shapes(data, dict.fromkeys(SHAPES, 4))
        write_shapes(validation, dict.fromkeys(SHAPES, 5), first=100)
    return Plan(
        data=data,
        validation=validation,
        folder=folder / "runs",
        epochs=1,
        fine_tune_epochs=1,
        size_px=64,
        reduced_px=32,
        seeds=seeds,
        options=OPTIONS,
        workers=0,
        device="cpu",
        specs=specs,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A whole study with two seeds."""
    return study(plan(tmp_path_factory.mktemp("study"), seeds=(0, 1)), Silent(), SHORT)


def test_every_arm_is_trained_with_every_seed(made: Study) -> None:
    """Six arms, the first of them batch norm at the served size."""
    assert [(one.arm, one.seed) for one in made.trained] == [(arm, seed) for seed in (0, 1) for arm in SIX]
    assert [one.arm for one in made.accuracy] == SIX


def test_accuracies_are_of_all_validation_images_with_their_intervals(made: Study) -> None:
    """Each lies inside its interval; the mean lies between the seeds."""
    for one in made.trained:
        assert 0 <= one.top1.low <= one.top1.value <= one.top1.high <= 1
    for arm in made.accuracy:
        assert arm.images == 15
        assert arm.least <= arm.top1.value <= arm.most
        assert arm.top1.value == pytest.approx(np.mean([one.top1.value for one in made.trained if one.arm == arm.arm]))


def test_differences_are_to_the_first_arm(made: Study) -> None:
    """Which differs by nothing from itself."""
    first = made.accuracy[0]
    assert (first.difference.value, first.difference.low, first.difference.high) == (0, 0, 0)
    for one in made.accuracy[1:]:
        assert one.difference.value == pytest.approx(one.top1.value - first.top1.value)


def test_every_kind_of_step_is_timed_in_every_round(made: Study) -> None:
    """Each network at either size and in fine-tuning; each arm's whole run from them."""
    assert [(one.network, one.phase, one.size_px) for one in made.steps] == [
        (network, phase, size_px)
        for network in NETWORKS
        for phase, size_px in (("train", 64), ("train", 32), ("fine-tune", 64))
    ]
    assert all(one.images_per_s.runs == 2 and one.images_per_s.least > 0 for one in made.steps)
    assert [one.arm for one in made.throughput] == SIX
    assert made.throughput[0].ratio.median == 1


def test_latency_is_of_both_sizes(made: Study) -> None:
    """The study's with its classes, the level's own with ImageNet's; every run counts."""
    expected = [(name, 64, 3) for name in NETWORKS] + [(name, 96, 1000) for name in NETWORKS]
    assert [(one.network, one.size_px, one.classes) for one in made.latency] == expected
    assert all(one.latency_ms.runs == 4 and one.latency_ms.least > 0 for one in made.latency)
    assert [one.ratio.median for one in made.latency if one.network == "b0"] == [1, 1]


def test_the_file_says_where_from_what_and_how(made: Study) -> None:
    """Machine and commit, data, recipe; and nothing of the machine's folders."""
    setting, text = made.setting, json.dumps(asdict(made))
    assert (setting.data, setting.images, setting.validation_images, setting.classes) == ("train", 12, 15, 3)
    assert setting.recipe["batch_size"] == 4
    assert setting.recipe["mix_probability"] == 0.3
    assert "seed" not in setting.recipe
    assert [one.figure for one in made.others] == ["accuracy", "training", "latency"]
    assert made.machine.commit
    assert "/tmp" not in text
    assert "/home" not in text


def test_the_file_reads_back(made: Study, tmp_path: Path) -> None:
    """As it was written."""
    (tmp_path / "g16.json").write_text(json.dumps(asdict(made)))
    assert read(tmp_path / "g16.json") == made


def test_its_tables_can_be_made(made: Study) -> None:
    """Rows are as long as their headings."""
    tables = page.tables(made)
    assert [table.title for table in tables][:4] == ["Accuracy", "Training", "Steps of training", "Latency"]
    assert all(len(row) == len(table.headings) for table in tables for row in table.rows)


def test_its_file_is_named_by_date_and_commit(made: Study) -> None:
    """Beside the other figures'."""
    path = report.default_path(made.machine, "g16")
    assert path.name == f"g16-{made.machine.date[:10]}-{made.machine.commit}.json"
    assert path.parent.name == "results"


# Training.


def test_regimes_differ_in_the_size_of_training_alone(tmp_path: Path) -> None:
    """Same epochs, same fine-tuning, same recipe."""
    seen = Silent()
    files = train(plan(tmp_path, SPECS[:1]), seen)
    assert seen.sizes == [("train", 64), ("fine-tune", 64), ("train", 32), ("fine-tune", 64)]
    native, reduced = (header.recipe for header in map(read_header, files.values()) if header is not None)
    assert {name for name in native if native[name] != reduced[name]} == {"train_size_px"}


def test_a_killed_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms that are finished are left as they are, and the one that was cut goes on at its last step."""
    monkeypatch.setattr("model_store.training.trainer.CHECKPOINT_EVERY_S", 0.0)
    asked = plan(tmp_path, SPECS[:1])
    with pytest.raises(KeyboardInterrupt):
        train(asked, Silent(stop_at=6 + 3))
    finished = asked.wish(SIX[0], 0).folder / "model.safetensors"
    before, resumed = finished.stat().st_mtime_ns, Silent()
    files = train(asked, resumed)
    assert finished.stat().st_mtime_ns == before
    assert resumed.steps == 6 - 2
    assert len(files) == 2


def test_another_study_s_folder_is_refused(tmp_path: Path) -> None:
    """Rather than reporting runs of another recipe."""
    asked = plan(tmp_path, SPECS[:1])
    train(asked, Silent())
    with pytest.raises(TrainingError, match="another run"):
        train(replace(asked, epochs=2), Silent())


def test_the_default_networks_are_b0_s() -> None:
    """With G1 batch norm first, which the others are compared with."""
    assert [arm.network for arm in arms(NETWORKS)] == list(
        itertools.chain.from_iterable(itertools.repeat(name, 2) for name in ("b0", "b0-g16-gn", "b0-g16"))
    )


# The command.


def command(folder: Path, *more: str) -> Result:
    """With the images of `plan`, and options of a run that never gets far."""
    asked = plan(folder)
    words = ["--data", str(asked.data), "--val", str(asked.validation), "--out", str(asked.folder), *more]
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, words)


def test_the_command_asks_for_what_its_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds once each, in order; recipe values as JSON; nothing is measured when only training is wanted."""
    seen: list[Plan] = []
    monkeypatch.setattr("benchmarks.g16.__main__.train", lambda asked, _: seen.append(asked))
    words = "--epochs 3 --seed 2 --seed 1 --seed 2 --set batch_size=8 --train-only"
    said = command(tmp_path, *words.split(" "))
    assert (said.exit_code, len(seen)) == (0, 1)
    asked = seen[0]
    assert (asked.epochs, asked.fine_tune_epochs, asked.size_px, asked.reduced_px) == (3, 2, 96, 64)
    assert (asked.seeds, asked.options, asked.threads, asked.networks) == ((2, 1), {"batch_size": 8}, 1, NETWORKS)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--reduced-size", "50"), "remainders"),
        (("--set", "epochz=3"), "epochz"),
        (("--set", "batch_size"), "name=value"),
    ],
)
def test_what_makes_no_sense_ends_the_command_with_one_line(more: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    """Before any arm is trained, also when another one is at fault."""
    done = command(tmp_path, *more)
    (line,) = done.stderr.splitlines()
    assert (done.exit_code, reason in line) == (2, True)


# Arithmetic.


def test_a_whole_run_is_as_fast_as_its_parts_take_time() -> None:
    """Five parts at 10 a second and two at 20 take 0.6 s: 7 in that."""
    assert throughput.harmonic((5, 10.0), (2, 20.0)) == pytest.approx(7 / 0.6)


def test_runs_are_compared_round_by_round(tmp_path: Path) -> None:
    """A round in which everything took twice as long does not widen the ratio."""
    asked = plan(tmp_path, SPECS[:2])
    rates = {kind: [10.0, 5.0] for kind in throughput.kinds(asked)}
    rates["b0", "train", 32] = [20.0, 10.0]
    reduced = throughput.whole_runs(asked, rates)[1]
    assert reduced.arm == SIX[1]
    assert reduced.ratio.p5 == reduced.ratio.p95 == pytest.approx(4 / 3, abs=1e-4)
    assert reduced.images_per_s.p95 > reduced.images_per_s.p5


def test_paired_differences_are_surer_than_the_accuracies() -> None:
    """Two arms that are wrong about nearly the same images differ by what they differ in."""
    theirs = np.repeat([1.0, 0.0], [60, 40])
    ours = theirs.copy()
    ours[[60, 61]], ours[0] = 1.0, 0.0
    found = accuracy.difference(ours, theirs)
    # Three of a hundred differ: the deviation is √(0.03 − 0.01²) and a little for n − 1.
    assert found.value == pytest.approx(0.01)
    assert found.high - found.value == pytest.approx(1.96 * np.sqrt((0.03 - 0.01**2) / 99), rel=1e-4)


@pytest.mark.parametrize("wanted", [throughput.kinds, lambda asked: list(arms(asked.networks))])
def test_nothing_is_timed_twice(wanted: Callable[[Plan], list[object]], tmp_path: Path) -> None:
    """Kinds of steps and arms are all different."""
    found = wanted(plan(tmp_path))
    assert len(set(found)) == len(found)
