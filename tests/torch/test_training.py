"""Training end to end, on drawings of three shapes and a network of few channels."""

import itertools
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make torch` runs these")

from model_store.builder.randomised import random_state  # noqa: E402
from model_store.builder.spec import Spec, blocks, custom, resolve  # noqa: E402
from model_store.images import open_images  # noqa: E402
from model_store.trained import read_header, read_tensors  # noqa: E402
from model_store.training import data  # noqa: E402
from model_store.training.grow import GrowError, widened  # noqa: E402
from model_store.training.job import Epoch, TrainingError  # noqa: E402
from model_store.training.learner import normalised  # noqa: E402
from model_store.training.network import EfficientNet  # noqa: E402
from model_store.training.recipe import Phase  # noqa: E402
from model_store.training.run import Wish, job_of, run  # noqa: E402
from model_store.training.trainer import Meter, Trainer  # noqa: E402
from tests.torch.images import SHAPES, write_shapes  # noqa: E402

SMALL = custom("small", width=0.25, depth=0.3, resolution=64)
QUICK: dict[str, Any] = {
    "size_px": 64, "train_size_px": 32, "epochs": 2, "fine_tune_epochs": 1, "batch_size": 8,
    "rand_augment_operations": 1, "warm_up_epochs": 0.5, "drop_path": 0.1,
}  # fmt: skip


class Seen:
    """Remembers what a run says. `stop_at`: raise after that step, as a kill would end it."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.steps: list[int] = []
        self.epochs: list[Epoch] = []
        self.remarks: list[str] = []
        self._stop_at = stop_at

    def step(self, done: int, total: int, epoch: int, loss: float) -> None:
        """Count."""
        self.steps.append(done)
        if done == self._stop_at:
            raise KeyboardInterrupt

    def epoch(self, epoch: Epoch) -> None:
        """Remember."""
        self.epochs.append(epoch)

    def remark(self, text: str) -> None:
        """Remember."""
        self.remarks.append(text)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen of each shape."""
    return write_shapes(tmp_path_factory.mktemp("shapes") / "shapes.zip", dict.fromkeys(SHAPES, 16))


def wish(images: Path, folder: Path, spec: Spec = SMALL, **changes: Any) -> Wish:  # noqa: ANN401
    """A run of a few seconds."""
    options = QUICK | changes.pop("options", {})
    return Wish(**{
        "spec": spec, "data": images, "validation": None, "folder": folder, "options": options,
        "device": "cpu", "workers": 0,
    } | changes)  # fmt: skip


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    """What a finished run ended with."""
    return read_tensors(folder / "model.safetensors")


def test_a_network_learns(tmp_path: Path) -> None:
    """Shapes it has not seen are told apart well above chance (a third)."""
    images = write_shapes(tmp_path / "train.zip", dict.fromkeys(SHAPES, 64))
    unseen = write_shapes(tmp_path / "val.zip", dict.fromkeys(SHAPES, 40), first=1000)
    seen = Seen()
    options = {
        "epochs": 12, "batch_size": 16, "learning_rate": 4e-3, "ema_decay": 0.9, "mix_probability": 0.0,
        "train_size_px": 64, "smallest_crop": 0.8, "rand_augment_operations": 0, "label_smoothing": 0.0,
    }  # fmt: skip
    run(wish(images, tmp_path / "run", validation=unseen, options=options), seen)
    assert seen.epochs[-1].top1 is not None
    assert seen.epochs[-1].top1 > 0.7


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it ended within an epoch or in fine-tuning: the weights are those of a run that was never stopped.

    But for the last bits: sums of floats depend on where in memory their terms lie.
    """
    monkeypatch.setattr("model_store.training.trainer.CHECKPOINT_EVERY_S", 0.0)
    run(wish(shapes, tmp_path / "whole"), Seen())
    for stop_at in (3, 15):
        with pytest.raises(KeyboardInterrupt):
            run(wish(shapes, tmp_path / "cut"), Seen(stop_at))
    resumed = Seen()
    run(wish(shapes, tmp_path / "cut"), resumed)
    assert resumed.steps[0] == 15
    whole, cut = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "cut")
    assert all(np.allclose(whole[name], cut[name], atol=1e-5) for name in whole)


def test_a_resumed_epoch_is_reported_whole(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss is the mean over all of its steps, and its images and time those before the kill as well."""
    monkeypatch.setattr("model_store.training.trainer.CHECKPOINT_EVERY_S", 0.0)
    whole, resumed = Seen(), Seen()
    run(wish(shapes, tmp_path / "whole"), whole)
    with pytest.raises(KeyboardInterrupt):
        run(wish(shapes, tmp_path / "cut"), Seen(stop_at=5))
    kept = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["meter"]
    run(wish(shapes, tmp_path / "cut"), resumed)
    first = resumed.epochs[0]
    assert first.loss == pytest.approx(whole.epochs[0].loss, abs=1e-4)
    assert (len(kept["losses"]), kept["images"]) == (4, 32)
    assert first.seconds > kept["seconds"]
    # 48 images at least, as the clock is read for the speed first; without the 32 of before it would be a third.
    assert first.images_per_s * first.seconds > 47


def test_the_time_between_a_kill_and_going_on_does_not_count() -> None:
    """A run that was stopped for a night was not slow."""
    before = Meter()
    before.add(torch.tensor(2.0), 8)
    kept = {**before.kept(), "seconds": 4000.0}
    after = Meter(**kept)
    after.add(torch.tensor(4.0), 8)
    loss, speed = after.end()
    assert loss == 3.0
    assert speed == pytest.approx(16 / 4000, rel=0.05)


def test_a_checkpoint_of_an_earlier_version_is_taken_up(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no meter: the epoch's figures then begin where the run goes on."""
    monkeypatch.setattr("model_store.training.trainer.CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(wish(shapes, tmp_path / "run"), Seen(stop_at=5))
    path = tmp_path / "run" / "checkpoint.pt"
    kept = torch.load(path, weights_only=True)
    del kept["meter"]
    torch.save(kept, path)
    resumed = Seen()
    run(wish(shapes, tmp_path / "run"), resumed)
    assert resumed.steps[0] == 5
    assert len(resumed.epochs) == 3


def test_the_curve_is_drawn_after_each_epoch(shapes: Path, tmp_path: Path) -> None:
    """A run that goes on for hours can be looked at before its end."""
    with pytest.raises(KeyboardInterrupt):
        run(wish(shapes, tmp_path / "run"), Seen(stop_at=8))
    first = (tmp_path / "run" / "curve.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    run(wish(shapes, tmp_path / "run"), Seen())
    assert (tmp_path / "run" / "curve.png").read_bytes() != first


def test_workers_change_nothing(shapes: Path, tmp_path: Path) -> None:
    """Images are drawn from seed, epoch and index, not from whoever prepares them."""
    for workers in (0, 2):
        run(wish(shapes, tmp_path / str(workers), workers=workers, options={"epochs": 1}), Seen())
    alone, helped = tensors_of(tmp_path / "0"), tensors_of(tmp_path / "2")
    assert all(np.allclose(alone[name], helped[name], atol=1e-5) for name in alone)


def test_another_run_s_folder_is_refused(shapes: Path, tmp_path: Path) -> None:
    """Rather than mixing two recipes."""
    run(wish(shapes, tmp_path / "run"), Seen())
    with pytest.raises(TrainingError, match="another run"):
        run(wish(shapes, tmp_path / "run", options={"seed": 1}), Seen())


def test_a_finished_run_is_not_run_again(shapes: Path, tmp_path: Path) -> None:
    """Asking once more leaves the file as it is, commit and device included."""
    path = run(wish(shapes, tmp_path / "run"), Seen())
    before, again = path.read_bytes(), Seen()
    run(wish(shapes, tmp_path / "run"), again)
    assert again.steps == []
    assert path.read_bytes() == before


def test_other_images_of_the_same_name_are_another_run(tmp_path: Path) -> None:
    """Or a run would go on with what it has not seen, and say it had."""
    run(wish(write_shapes(tmp_path / "shapes.zip", dict.fromkeys(SHAPES, 16)), tmp_path / "run"), Seen())
    others = write_shapes(tmp_path / "shapes.zip", dict.fromkeys(SHAPES, 16), first=500)
    with pytest.raises(TrainingError, match="another run"):
        run(wish(others, tmp_path / "run"), Seen())


def test_a_checkpoint_that_cannot_be_read_is_named(shapes: Path, tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be read.*delete it"):
        run(wish(shapes, tmp_path / "run"), Seen())


def test_a_run_that_diverges_keeps_its_last_sound_checkpoint(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with a message instead of hours of nothing."""
    monkeypatch.setattr("model_store.training.trainer.CHECKPOINT_EVERY_S", 0.0)
    options = {"learning_rate": 1e30, "warm_up_epochs": 0.0}
    with pytest.raises(TrainingError, match="diverged"):
        run(wish(shapes, tmp_path / "run", options=options), Seen())
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_device_that_is_not_there_is_said(shapes: Path, tmp_path: Path) -> None:
    """In one line, before anything is trained."""
    with pytest.raises(TrainingError, match="device 'cuda:99' cannot be used"):
        run(wish(shapes, tmp_path / "run", device="cuda:99"), Seen())


def test_the_file_says_what_it_is(shapes: Path, tmp_path: Path) -> None:
    """Spec, preparation, classes, recipe and data."""
    run(wish(shapes, tmp_path / "run"), Seen())
    header = read_header(tmp_path / "run" / "model.safetensors")
    assert header is not None
    assert header.spec == SMALL
    assert header.preprocessing.input_size_px == 64
    assert header.labels == "0\t\tdisc\n1\t\tsquare\n2\t\tstripes\n"
    assert header.recipe["epochs"] == 2
    assert (header.data.name, header.data.images) == ("shapes", 48)


def test_metrics_are_lines_of_json(shapes: Path, tmp_path: Path) -> None:
    """One an epoch, and a picture of them."""
    run(wish(shapes, tmp_path / "run"), Seen())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["phase"], line["size_px"]) for line in lines] == [
        (1, "train", 32), (2, "train", 32), (3, "fine-tune", 64),
    ]  # fmt: skip
    assert (tmp_path / "run" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_fine_tuning_changes_the_last_layers_alone(shapes: Path, tmp_path: Path) -> None:
    """What comes before them stays as the training left it, batch statistics included."""
    job = job_of(wish(shapes, tmp_path / "run"))
    trainer, before = Trainer(job, Seen()), {}
    enter, network = trainer.learner.enter, trainer.learner.network

    def entering(phase: Phase) -> None:
        enter(phase)
        before.update({name: value.clone() for name, value in network.state_dict().items()})

    trainer.learner.enter = entering  # type: ignore[method-assign]
    trainer.run()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(("blocks.6.", "conv_head.", "bn2.", "classifier.")) for name in changed)


def test_damaged_images_are_named_and_left_out(tmp_path: Path) -> None:
    """Each once; the run goes on."""
    images = write_shapes(tmp_path / "shapes.zip", dict.fromkeys(SHAPES, 16))
    with zipfile.ZipFile(images, "a") as archive:
        archive.writestr("disc/broken.jpg", b"\xff\xd8 not a JPEG")
    seen = Seen()
    run(wish(images, tmp_path / "run"), seen)
    assert [line for line in seen.remarks if "broken" in line] == ["disc/broken.jpg cannot be decoded and is left out"]
    assert seen.epochs[-1].damaged == 1


def test_a_set_of_damaged_images_ends_the_run(tmp_path: Path) -> None:
    """When most will not decode, it is not the images that are wrong but what was given as images."""
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for number in range(40):
            archive.writestr(f"{SHAPES[number % 2]}/{number}.jpg", b"nothing")
    with pytest.raises(TrainingError, match="cannot be decoded"):
        run(wish(tmp_path / "bad.zip", tmp_path / "run"), Seen())


def test_imbalance_is_said_and_softened(tmp_path: Path) -> None:
    """A class of four among classes of thirty-six is drawn three times as often as its share."""
    images = open_images(write_shapes(tmp_path / "shapes.zip", {"disc": 36, "square": 36, "stripes": 4}))
    weights = data.class_weights(images)
    assert weights is not None
    assert weights[-4:].sum() == pytest.approx(2 / (6 + 6 + 2))
    assert any("4 to 36 images" in line for line in data.remarks(images))


def test_a_class_of_one_image_is_said(tmp_path: Path) -> None:
    """It is trained on all the same."""
    images = write_shapes(tmp_path / "shapes.zip", {"disc": 20, "square": 20, "stripes": 1})
    seen = Seen()
    run(wish(images, tmp_path / "run", options={"epochs": 1}), seen)
    assert any("1 class has one image, too few to learn from: stripes" in line for line in seen.remarks)


def test_images_beside_the_class_folders_are_said(tmp_path: Path) -> None:
    """Rather than dropped in silence."""
    path = write_shapes(tmp_path / "shapes.zip", dict.fromkeys(SHAPES, 2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("stray.jpg", b"")
    assert any(
        "1 images lie in no class folder and are left out: stray.jpg" in x for x in data.remarks(open_images(path))
    )


def test_balanced_classes_are_each_seen_once(shapes: Path) -> None:
    """An epoch is a permutation then."""
    images = open_images(shapes)
    job = job_of(wish(shapes, Path("unused")))
    first = itertools.islice(data.Draws(images, job.recipe, 0), 6)
    drawn = [draw.index for batch in first for draw in batch]
    assert sorted(drawn) == list(range(48))


def test_one_class_is_no_classifier(tmp_path: Path) -> None:
    """Said before anything is trained."""
    images = write_shapes(tmp_path / "discs.zip", {"disc": 5})
    with pytest.raises(TrainingError, match="one class, 'disc'"):
        run(wish(images, tmp_path / "run"), Seen())


def test_validation_classes_must_be_known(shapes: Path, tmp_path: Path) -> None:
    """An unknown class could never be right."""
    with zipfile.ZipFile(tmp_path / "val.zip", "w") as archive:
        archive.writestr("triangle/1.jpg", b"")
    with pytest.raises(TrainingError, match="triangle"):
        run(wish(shapes, tmp_path / "run", validation=tmp_path / "val.zip"), Seen())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"size_px": 80, "train_size_px": 48}, "64 ± 32"),
        ({"train_size_px": 48}, "remainders"),
        ({"epochz": 3}, "epochz"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(
    shapes: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    """In one line, before anything is trained."""
    with pytest.raises(TrainingError, match=reason):
        run(wish(shapes, tmp_path / "run", options=options), Seen())


def test_a_network_grows_without_forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deeper and wider, it answers as before, but for the noise that lets copies part (Net2Net)."""
    monkeypatch.setattr("model_store.training.grow.NOISE", 0.0)
    small = custom("small", width=0.5, depth=0.3, resolution=64)
    large = custom("large", width=0.75, depth=1.0, resolution=64)
    small_network, large_network = EfficientNet(small, 3).eval(), EfficientNet(large, 3).eval()
    state = random_state(
        {n: tuple(v.shape) for n, v in small_network.state_dict().items() if "num_batches" not in n}, seed=3
    )
    for network, tensors in ((small_network, state), (large_network, identities(large) | widened(state, small, large))):
        network.load_state_dict({n: torch.from_numpy(v) for n, v in tensors.items()}, strict=False)
    images = normalised(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
    with torch.inference_mode():
        before, after = small_network(images), large_network(images)
    assert (before - after).abs().max() < 1e-4 * before.abs().max()
    assert (before[0] - before[1]).abs().max() > 1e-3 * before.abs().max()


def identities(spec: Spec) -> dict[str, np.ndarray]:
    """Last norms of all blocks that skip, silent."""
    return {
        f"{block.name}.bn{3 if block.expands else 2}.weight": np.zeros(block.out_channels, np.float32)
        for block in blocks(spec)
        if block.has_skip
    }


def test_only_networks_of_one_kind_grow_into_each_other(shapes: Path, tmp_path: Path) -> None:
    """And only towards larger ones."""
    run(wish(shapes, tmp_path / "small", options={"epochs": 1}), Seen())
    for spec, reason in ((resolve("b0-g16"), "different kinds"), (replace(SMALL, width=0.1), "not smaller")):
        with pytest.raises(GrowError, match=reason):
            job_of(wish(shapes, tmp_path / "x", spec, grow_from=tmp_path / "small" / "model.safetensors"))
