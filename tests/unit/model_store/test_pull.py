"""Checkpoints from the hub: a real client against a hub on this machine."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save

from model_store import manifest as manifests
from model_store.builder import build, tags
from model_store.builder.pull import Hub, PullError, fetch, pull
from model_store.builder.spec import LEVELS, resolve
from model_store.builder.tags import Tag, TagError
from model_store.builder.weights import WeightsError, untrained
from model_store.manifest import AccuracySource
from tests.unit.model_store.hub import StubHub, serving

REPOSITORY = "timm/tf_efficientnet_b0.aa_in1k"
CONTENT = bytes(range(256)) * 4096
WRITTEN_AT_ONCE = 10 * 2**20
"""The client writes, and so resumes, in steps of 10 MiB."""
CHOSEN = tags.find("b0", "aa_in1k")


@pytest.fixture
def hub() -> Iterator[StubHub]:
    """A hub with one megabyte under the name of a checkpoint."""
    with serving(StubHub({REPOSITORY: CONTENT})) as stub:
        yield stub


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """A file that fits B0."""
    return save(untrained(build.state_shapes(resolve("b0"), 1000), 0).tensors)


def _client(hub: StubHub, tmp_path: Path) -> Hub:
    return Hub(hub.endpoint, tmp_path / "cache")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_a_pulled_variant_says_whose_figures_it_has(hub: StubHub, checkpoint: bytes, tmp_path: Path) -> None:
    """The manifest carries the publisher's accuracy, licence and preprocessing, and the file's checksum."""
    hub.files[REPOSITORY] = checkpoint
    stored = pull("b0", "aa_in1k", tmp_path / "store", hub=_client(hub, tmp_path))
    manifest = manifests.read(stored.folder)
    accuracy, weights = manifest.accuracy, manifest.weights
    assert (accuracy.top1, accuracy.top5, accuracy.dataset) == (0.76882, 0.9327, "imagenet-1k")
    assert (accuracy.source, weights.licence) == (AccuracySource.PUBLISHED, "apache-2.0")
    assert (weights.source, weights.sha256) == (REPOSITORY, hashlib.sha256(checkpoint).hexdigest())
    assert (manifest.name, manifest.preprocessing, manifest.labels.classes) == ("b0", CHOSEN.preprocessing, 1000)
    assert pull("b0", "aa_in1k", tmp_path / "store", hub=_client(hub, tmp_path)) == replace(stored, kept=True)


def test_a_file_is_downloaded_once(hub: StubHub, tmp_path: Path) -> None:
    """The second time it comes from the cache."""
    paths = {fetch(CHOSEN, _client(hub, tmp_path)) for _ in range(2)}
    assert [path.read_bytes() == CONTENT for path in paths] == [True]
    assert hub.ranges == [None]


def test_a_broken_connection_is_taken_up_where_it_broke(hub: StubHub, tmp_path: Path) -> None:
    """After a cut the client asks for what it has not written yet, and the whole is right."""
    hub.files[REPOSITORY] = CONTENT * 12
    hub.cuts = [WRITTEN_AT_ONCE + 1000]
    assert fetch(CHOSEN, _client(hub, tmp_path)).read_bytes() == CONTENT * 12
    assert hub.ranges == [None, f"bytes={WRITTEN_AT_ONCE}-"]


def test_a_damaged_file_is_refused_and_dropped(hub: StubHub, tmp_path: Path) -> None:
    """Content that is not what the hub says is not built, and not in the cache the next time."""
    hub.sha256 = "0" * 64
    with pytest.raises(PullError, match="arrived damaged"):
        fetch(CHOSEN, _client(hub, tmp_path))
    hub.sha256 = None
    assert fetch(CHOSEN, _client(hub, tmp_path)).read_bytes() == CONTENT


def test_a_disk_that_is_too_small_is_known_beforehand(hub: StubHub, tmp_path: Path) -> None:
    """Nothing is downloaded when it cannot fit."""
    hub.size = 10**18
    with pytest.raises(PullError, match="the disk is full: 1,000,000,000,000 MB are needed"):
        fetch(CHOSEN, _client(hub, tmp_path))
    assert hub.ranges == []


def test_a_checkpoint_that_the_hub_lacks_is_named(hub: StubHub, tmp_path: Path) -> None:
    """A repository that is gone is told apart from a network that is."""
    hub.files.clear()
    with pytest.raises(PullError, match=rf"^{REPOSITORY}: {hub.endpoint} has no such checkpoint$"):
        fetch(CHOSEN, _client(hub, tmp_path))


def test_an_unwilling_hub_is_quoted(hub: StubHub, tmp_path: Path) -> None:
    """Another error of the hub is given by its number."""
    hub.status = 403
    with pytest.raises(PullError, match=r"answered 403; run `effserve pull b0"):
        fetch(CHOSEN, _client(hub, tmp_path))


def test_without_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    """One line names the way over another machine, and the one without trained weights."""
    nowhere = Hub(f"http://127.0.0.1:{_free_port()}", tmp_path / "cache")
    with pytest.raises(PullError) as caught:
        fetch(CHOSEN, nowhere)
    message = str(caught.value)
    assert "cannot be reached" in message
    assert "`effserve pull b0 --tag aa_in1k` on a machine with network" in message
    assert "\n" not in message


def test_a_checkpoint_of_another_network_is_refused(hub: StubHub, tmp_path: Path) -> None:
    """What arrives must fit the level, and nothing is stored otherwise."""
    hub.files[REPOSITORY] = save(untrained({"classifier.bias": (1000,)}, 0).tensors)
    with pytest.raises(WeightsError, match="does not fit the network; missing"):
        pull("b0", "aa_in1k", tmp_path / "store", hub=_client(hub, tmp_path))
    assert not (tmp_path / "store").exists()


def test_an_unknown_tag_is_refused_with_those_there_are(tmp_path: Path) -> None:
    """The message lists the level's tags."""
    with pytest.raises(PullError, match="b6 has no checkpoint 'in1k'; it has aa_in1k, ap_in1k, ns_jft_in1k"):
        pull("b6", "in1k", tmp_path)


def test_the_command_pulls_from_the_endpoint_in_the_environment(
    hub: StubHub, checkpoint: bytes, tmp_path: Path
) -> None:
    """`HF_ENDPOINT` leads the whole command to another hub."""
    hub.files[REPOSITORY] = checkpoint
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    arguments = ["effserve", "pull", "b0", "--store", str(tmp_path / "store"), "--json"]
    code = f"import sys; from service.cli import main; sys.argv = {arguments!r}; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [entry["folder"] for entry in json.loads(done.stdout)] == [str(tmp_path / "store" / "b0" / "1")]


def test_tensorflow_ports_are_preferred() -> None:
    """Where both families have a tag, the one with SAME padding is taken."""
    assert tags.find("b5", "ra_in1k").hub == "timm/tf_efficientnet_b5.ra_in1k"
    found = tags.find("b0", "ra_in1k")
    assert (found.hub, found.spec.padding) == ("timm/efficientnet_b0.ra_in1k", "symmetric")


@pytest.mark.parametrize("level", LEVELS)
def test_every_tag_of_the_table_can_be_built(level: str) -> None:
    """Each has an accuracy, a licence, and an input size that its padding allows."""
    found: list[Tag] = [tags.find(level, tag) for tag in tags.known_tags(level)]
    assert {"aa_in1k", "ap_in1k", "ns_jft_in1k"} <= {tag.tag for tag in found}
    for tag in found:
        offset = (tag.preprocessing.input_size_px - tag.spec.resolution) % 32
        assert tag.spec.padding == "symmetric" or offset == 0
        assert tag.accuracy.source is AccuracySource.PUBLISHED
        assert tag.licence == "apache-2.0"


def test_adversarially_trained_checkpoints_have_their_own_mean() -> None:
    """Preprocessing belongs to the checkpoint: these were trained on pixels in [−1, 1]."""
    assert tags.find("b0", "ap_in1k").preprocessing.mean == (0.5, 0.5, 0.5)
    assert tags.find("b5", "sw_in12k_ft_in1k").preprocessing.crop_mode == "squash"


@pytest.mark.parametrize("level", ["b8", "b0-g16", ""])
def test_levels_without_checkpoints_say_so(level: str) -> None:
    """Nobody publishes G16 weights in this layout."""
    with pytest.raises(TagError, match="no trained checkpoints"):
        tags.find(level, "aa_in1k")
