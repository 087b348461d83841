"""Networks of timm become variants that give what timm gives, down from the image's bytes."""

import importlib.util
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, numpy_helper
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed; `make torch` runs these")
if importlib.util.find_spec("timm") is None:  # not by importing it: that takes what `timm_package` does
    pytest.skip("timm is not installed; `make torch` runs these", allow_module_level=True)

import torch
from safetensors.torch import save

from model_store import manifest as manifests
from model_store.builder import timm_export
from model_store.builder.foreign import ImportRefused
from model_store.builder.hub import Hub
from model_store.builder.imported import add
from model_store.builder.recipes import default_labels
from model_store.builder.store import Stored
from model_store.builder.timm_export import PUBLISHED, Asked, prepared, timm_package
from model_store.manifest import Accuracy, AccuracySource, WeightsKind
from service.pipeline.image import decode
from service.pipeline.session import Session, SessionOptions
from tests.fixtures import png
from tests.unit.model_store.hub import StubHub, serving

SMALL = "test_resnet.r160_in1k"
"""One of timm's own test networks: half a million parameters, 160 pixels."""
REPOSITORY = f"timm/{SMALL}"


def made(folder: Path, asked: Asked, hub: Hub | None = None) -> Stored:
    """The network as a variant of the store in `folder`."""
    origin, wishes = prepared(asked, None, default_labels(), hub)
    return add(origin, wishes, folder)


def theirs(asked: Asked, photo: bytes, state: dict[str, Any] | None = None) -> npt.NDArray[np.float32]:
    """timm's logits [1, 1000] for an image, by timm's own transform."""
    timm = timm_package()
    torch.manual_seed(asked.seed or 0)
    network = timm.create_model(asked.name, pretrained=False).eval()
    network.load_state_dict(state or network.state_dict())
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    with torch.inference_mode():
        logits: npt.NDArray[np.float32] = network(transform(Image.open(io.BytesIO(photo)))[None]).numpy()
    return logits


def ours(stored: Stored, photo: bytes) -> npt.NDArray[np.float32]:
    """The service's logits [1, 1000] for an image."""
    prepare = manifests.read(stored.folder).preprocessing
    size = prepare.input_size_px
    session = Session(stored.folder / "model.onnx", input_size_px=size, classes=1000, options=SessionOptions())
    return session.run(decode(photo, prepare)[None])


def random_state(seed: int) -> dict[str, Any]:
    """Weights of the small network that are nobody's default."""
    torch.manual_seed(seed)
    state = timm_package().create_model(SMALL, pretrained=False).state_dict()
    moved = {name: value + 0.02 * torch.rand_like(value) for name, value in state.items() if value.is_floating_point()}
    return dict(state) | moved


def test_untrained_weights_are_the_seeds_and_say_so(tmp_path: Path) -> None:
    """Logits are timm's for the same seed; no accuracy is claimed."""
    asked, photo = Asked(SMALL, seed=3), png(300, 200)
    stored = made(tmp_path, asked)
    manifest = manifests.read(stored.folder)
    expected = theirs(asked, photo)
    np.testing.assert_allclose(ours(stored, photo), expected, atol=2e-2 * np.abs(expected).max())
    assert (manifest.weights.kind, manifest.weights.source) == (WeightsKind.UNTRAINED, "seed 3")
    assert manifest.accuracy == Accuracy()


def test_the_preparation_is_the_publishers(tmp_path: Path) -> None:
    """Size, crop, interpolation, mean and deviation."""
    manifest = manifests.read(made(tmp_path, Asked(SMALL, seed=0)).folder)
    config = timm_package().models.get_pretrained_cfg(SMALL)
    found = manifest.preprocessing
    assert (found.input_size_px, found.crop_pct) == (config.input_size[-1], config.crop_pct)
    assert (found.interpolation, found.crop_mode) == (config.interpolation, config.crop_mode)
    assert (found.mean, found.std) == (config.mean, config.std)


def test_the_variant_goes_by_the_networks_name_and_counts_its_parameters(tmp_path: Path) -> None:
    """Without the tag, as `pull` does it."""
    stored = made(tmp_path, Asked(SMALL, seed=0))
    network = timm_package().create_model(SMALL, pretrained=False)
    assert stored.name == "test_resnet"
    assert stored.params == sum(parameter.numel() for parameter in network.parameters())


def test_the_same_seed_is_kept(tmp_path: Path) -> None:
    """Weights are drawn anew and come out the same."""
    first = made(tmp_path, Asked(SMALL, seed=0))
    assert made(tmp_path, Asked(SMALL, seed=0)) == replace(first, kept=True)
    assert made(tmp_path, Asked(SMALL, seed=1)).version == 2


def test_another_size_is_exported_for_that_size(tmp_path: Path) -> None:
    """The graph runs at it."""
    manifest = manifests.read(made(tmp_path, Asked(SMALL, seed=0, size=96)).folder)
    assert manifest.preprocessing.input_size_px == 96


def test_the_publishers_weights_come_from_the_hub(tmp_path: Path) -> None:
    """Logits are those of the file; the manifest names repository, licence and checksum."""
    state, photo = random_state(5), png(300, 200)
    with serving(StubHub({REPOSITORY: save(state)})) as hub:
        stored = made(tmp_path / "store", Asked(SMALL), Hub(hub.endpoint, tmp_path / "cache"))
    weights = manifests.read(stored.folder).weights
    expected = theirs(Asked(SMALL), photo, state)
    np.testing.assert_allclose(ours(stored, photo), expected, atol=2e-2 * np.abs(expected).max())
    assert (weights.kind, weights.source, weights.licence) == (WeightsKind.CHECKPOINT, REPOSITORY, "apache-2.0")
    assert weights.sha256 is not None


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    """By the names of its tensors."""
    content = save({"other.weight": torch.zeros(1)})
    with (
        serving(StubHub({REPOSITORY: content})) as hub,
        pytest.raises(ImportRefused, match=rf"{SMALL}: its weights do not fit: "),
    ):
        made(tmp_path / "store", Asked(SMALL), Hub(hub.endpoint, tmp_path / "cache"))


def test_without_network_it_says_what_to_do(tmp_path: Path) -> None:
    """In one line."""
    nowhere = Hub("http://127.0.0.1:1", tmp_path / "cache")
    with pytest.raises(ImportRefused, match=r"cannot be reached .*; run this on a machine with network") as refused:
        made(tmp_path / "store", Asked(SMALL), nowhere)
    assert "\n" not in str(refused.value)


def test_an_older_networks_address_is_named_when_it_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hub is."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(ImportRefused, match=r"https://\S+ cannot be reached .*; run this on a machine with network"):
        made(tmp_path / "store", Asked("legacy_seresnet18.in1k"))


def test_an_older_networks_address_is_asked_in_place_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few have a plain address; what is in torch's cache is not fetched again."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    address = timm_package().models.get_pretrained_cfg("legacy_seresnet18.in1k").url
    file = tmp_path / "checkpoints" / address.rsplit("/", 1)[-1]
    file.parent.mkdir()
    file.write_bytes(b"not weights")
    with pytest.raises(ImportRefused, match=r"legacy_seresnet18\.in1k: its weights do not fit"):
        made(tmp_path / "store", Asked("legacy_seresnet18.in1k"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet51", r"timm has no network 'resnet51'; it has .*resnet50"),
        ("resnet18.nobodys", r"timm's resnet18 has no weights 'nobodys'; it has .*a1_in1k"),
        ("resnet200", r"timm has no trained weights of resnet200; --untrained draws"),
    ],
)
def test_what_timm_does_not_have_is_named(tmp_path: Path, name: str, reason: str) -> None:
    """With what it has instead."""
    with pytest.raises(ImportRefused, match=reason):
        made(tmp_path, Asked(name))


def test_a_graph_that_gives_other_logits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is not trusted."""
    exported = timm_export._exported

    def spoilt(name: str, network: torch.nn.Module, size: int) -> ModelProto:
        proto = exported(name, network, size)
        weights = proto.graph.initializer[0]
        weights.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(weights), weights.name))
        return proto

    monkeypatch.setattr(timm_export, "_exported", spoilt)
    with pytest.raises(ImportRefused, match=f"{SMALL}: the graph's logits are off torch's by"):
        made(tmp_path, Asked(SMALL, seed=0))


def test_published_figures_are_of_networks_that_timm_has() -> None:
    """Under exactly the name that is asked for, at one size only."""
    configs = [timm_package().models.get_pretrained_cfg(name) for name in PUBLISHED]
    assert [f"{config.architecture}.{config.tag}" for config in configs] == list(PUBLISHED)
    assert all(config.num_classes == 1000 for config in configs)


def test_published_accuracy_holds_for_the_publishers_weights_and_size_alone() -> None:
    """For seeded weights it ranks the architecture, for another size nothing is known."""
    facts = timm_export._facts("resnet50.tv_in1k")
    published = Accuracy(top1=0.76156, dataset="imagenet-1k", source=AccuracySource.PUBLISHED)
    assert timm_export._accuracy(Asked("resnet50.tv_in1k"), facts) == published
    assert timm_export._accuracy(Asked("resnet50.tv_in1k", size=288), facts) == Accuracy()
    assert timm_export._accuracy(Asked("resnet50.tv_in1k", seed=0), facts) == Accuracy()
    assert timm_export._published_for("resnet50") == 0.76156
