"""Checkpoints from the hub: a real client against a hub on this machine."""

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from safetensors.numpy import save

from model_store import manifest as manifests
from model_store.builder import build, tags
from model_store.builder.hub import Hub
from model_store.builder.pull import PullError, fetch, pull
from model_store.builder.spec import LEVELS, resolve
from model_store.builder.tags import Tag, TagError
from model_store.builder.weights import WeightsError, untrained
from model_store.manifest import AccuracySource
from tests.unit.model_store.hub import LATER_COMMIT, StubHub, file_server, serving

REPOSITORY = "timm/tf_efficientnet_b0.aa_in1k"
CONTENT = bytes(range(256)) * 4096
WRITTEN_AT_ONCE = 10 * 2**20
"""The client writes, and so resumes, in steps of 10 MiB."""
LARGE = CONTENT * 12
FIRST_PART = WRITTEN_AT_ONCE + 1000
"""Enough for the client to have written once, of a large file."""
REST = f"bytes={WRITTEN_AT_ONCE}-"
CHOSEN = tags.find("b0", "aa_in1k")
DOWNLOAD = """
import sys
from pathlib import Path
from model_store.builder.hub import Hub, fetch_file
fetch_file(sys.argv[1], "model.safetensors", Hub(sys.argv[2], Path(sys.argv[3])))
"""
COMMAND = "import sys; from service.cli import main; sys.argv = ['effserve', 'pull', *sys.argv[1:]]; main()"
PATIENCE_S = 120.0


@pytest.fixture
def hub() -> Iterator[StubHub]:
    """A hub with one megabyte under the name of a checkpoint."""
    with serving(StubHub({REPOSITORY: CONTENT})) as stub:
        yield stub


@pytest.fixture
def large(hub: StubHub) -> StubHub:
    """The same hub with a file that the client writes in two parts."""
    hub.files[REPOSITORY] = LARGE
    return hub


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """A file that fits B0."""
    return save(untrained(build.state_shapes(resolve("b0"), 1000), 0).tensors)


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Hub]:
    """A port where nobody listens, and nobody else can meanwhile; with the cache of the test's other clients."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        yield Hub(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path / "hub")


def _client(hub: StubHub, tmp_path: Path) -> Hub:
    """Keeps its cache where a command with this `HF_HOME` would."""
    return Hub(hub.endpoint, tmp_path / "hub")


def _failure(hub: Hub) -> str:
    with pytest.raises(PullError) as caught:
        fetch(CHOSEN, hub)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _started(code: str, arguments: Sequence[str], hub: StubHub, tmp_path: Path, **environment: str) -> Popen[str]:
    """Another Python process, which knows the hub and the cache from its environment."""
    return Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)} | environment,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    )


def _pull_command(hub: StubHub, tmp_path: Path, **environment: str) -> Popen[str]:
    arguments = ["b0", "--store", str(tmp_path / "store"), "--json"]
    return _started(COMMAND, arguments, hub, tmp_path, **environment)


def _kill_in_the_middle(process: Popen[str], tmp_path: Path) -> None:
    """SIGKILL once the first part of the file is on the disk."""
    files = (tmp_path / "hub").rglob
    try:
        _wait_for(lambda: any(path.stat().st_size >= WRITTEN_AT_ONCE for path in files("*.incomplete")))
    finally:
        process.kill()
        process.communicate()


def _killed_download(hub: StubHub, tmp_path: Path) -> None:
    hub.stalls = [FIRST_PART]
    arguments = [REPOSITORY, hub.endpoint, str(_client(hub, tmp_path).cache)]
    _kill_in_the_middle(_started(DOWNLOAD, arguments, hub, tmp_path), tmp_path)


def _wait_for(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def _partial_file(tmp_path: Path) -> Path:
    """What a killed run left."""
    (found,) = (tmp_path / "hub").rglob("*.incomplete")
    return found


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


def test_two_runs_at_once_download_once(large: StubHub, tmp_path: Path) -> None:
    """The second waits for the first and takes what it brought."""
    large.stalls = [FIRST_PART]
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(fetch, CHOSEN, _client(large, tmp_path)) for _ in range(2)]
        _wait_for(lambda: [request.method for request in large.requests].count("HEAD") >= 2)
        large.released.set()
        assert [run.result().read_bytes() == LARGE for run in runs] == [True, True]
    assert large.ranges == [None]


@pytest.mark.parametrize(
    "etag",
    [("X-Linked-Etag", '"{}"'), ("ETag", '"{}"'), ("ETag", 'W/"{}"')],
    ids=["linked", "plain", "weak"],
)
def test_the_checksum_is_read_from_whichever_header_has_it(hub: StubHub, etag: tuple[str, str], tmp_path: Path) -> None:
    """A hub that redirects says it in a header of its own, a mirror that does not in the ETag."""
    hub.etag = etag
    assert fetch(CHOSEN, _client(hub, tmp_path)).resolve().name == hashlib.sha256(CONTENT).hexdigest()


def test_a_repository_that_has_moved_is_followed(hub: StubHub, tmp_path: Path) -> None:
    """A renamed repository is found by its old name: the hub answers with an address relative to its own."""
    hub.files = {"timm/renamed": CONTENT}
    hub.moved = {REPOSITORY: "timm/renamed"}
    assert fetch(CHOSEN, _client(hub, tmp_path)).read_bytes() == CONTENT


def test_content_may_lie_on_another_host(hub: StubHub, tmp_path: Path) -> None:
    """The hub redirects to its content network; checksum and revision are still those that the hub said."""
    with serving(file_server(hub.files)) as hub.cdn:
        path = fetch(CHOSEN, _client(hub, tmp_path))
        assert (path.read_bytes(), hub.cdn.ranges) == (CONTENT, [None])
    assert (path.parent.name, path.resolve().name) == (hub.commit, hashlib.sha256(CONTENT).hexdigest())


def test_the_token_is_shown_to_the_hub_alone(hub: StubHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hub redirects to, nobody needs to know who asks."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(file_server(hub.files)) as hub.cdn:
        fetch(CHOSEN, _client(hub, tmp_path))
        assert {request.authorization for request in hub.cdn.requests} == {None}
    assert {request.authorization for request in hub.requests} == {"Bearer hf_secret"}


def test_a_broken_connection_is_taken_up_where_it_broke(large: StubHub, tmp_path: Path) -> None:
    """After a cut the client asks for what it has not written yet, and the whole is right."""
    large.cuts = [FIRST_PART]
    assert fetch(CHOSEN, _client(large, tmp_path)).read_bytes() == LARGE
    assert large.ranges == [None, REST]


def test_a_part_may_be_redirected_too(large: StubHub, tmp_path: Path) -> None:
    """After a cut on the content network the hub is asked for a new address, which gets the Range."""
    with serving(file_server(large.files)) as large.cdn:
        large.cdn.cuts = [FIRST_PART]
        assert fetch(CHOSEN, _client(large, tmp_path)).read_bytes() == LARGE
        assert large.ranges == large.cdn.ranges == [None, REST]


def test_a_killed_command_goes_on_where_it_stopped(hub: StubHub, checkpoint: bytes, tmp_path: Path) -> None:
    """`effserve pull` after a SIGKILL asks for the rest alone, and builds from the whole."""
    hub.files[REPOSITORY] = checkpoint
    hub.stalls = [FIRST_PART]
    _kill_in_the_middle(_pull_command(hub, tmp_path), tmp_path)
    command = _pull_command(hub, tmp_path)
    said, errors = command.communicate()
    assert command.returncode == 0, errors
    weights = manifests.read(Path(json.loads(said)[0]["folder"])).weights
    assert weights.sha256 == hashlib.sha256(checkpoint).hexdigest()
    assert hub.ranges == [None, REST]


def test_a_failed_download_is_kept_and_its_error_says_so(large: StubHub, tmp_path: Path) -> None:
    """When a retry fails too, the command ends, and the next one goes on."""
    large.cuts, large.status_after_cut = [FIRST_PART], 500
    message = _failure(_client(large, tmp_path))
    assert message.endswith(f"{large.endpoint} answered 500; what has arrived is kept, try again to go on")
    large.status = 200
    assert fetch(CHOSEN, _client(large, tmp_path)).read_bytes() == LARGE
    assert large.ranges == [None, REST, REST]


def test_a_server_without_ranges_gives_the_whole_again(large: StubHub, tmp_path: Path) -> None:
    """An answer 200 to a Range is the file from its start, and is not put behind what is there."""
    _killed_download(large, tmp_path)
    large.ranges_work = False
    assert fetch(CHOSEN, _client(large, tmp_path)).read_bytes() == LARGE
    assert large.ranges == [None, REST]


def test_other_content_starts_at_zero(large: StubHub, tmp_path: Path) -> None:
    """What a killed run left of one revision is no part of the next."""
    _killed_download(large, tmp_path)
    later = large.files[REPOSITORY] = LARGE[::-1]
    large.commit = LATER_COMMIT
    assert fetch(CHOSEN, _client(large, tmp_path)).read_bytes() == later
    assert large.ranges == [None, None]


def test_a_new_revision_of_the_same_content_goes_on(large: StubHub, tmp_path: Path) -> None:
    """The hub's commits are of whole repositories: a new model card does not cost the download."""
    _killed_download(large, tmp_path)
    large.commit = LATER_COMMIT
    assert fetch(CHOSEN, _client(large, tmp_path)).read_bytes() == LARGE
    assert large.ranges == [None, REST]


@pytest.mark.parametrize(("mode", "damage"), [("r+b", b"zeros"), ("ab", LARGE)], ids=["wrong", "too long"])
def test_a_damaged_part_is_found_out(large: StubHub, mode: str, damage: bytes, tmp_path: Path) -> None:
    """What a crash of the machine or a second writer did to a part shows in the checksum; the next run is right."""
    _killed_download(large, tmp_path)
    with _partial_file(tmp_path).open(mode) as file:
        file.write(damage)
    assert "arrived damaged" in _failure(_client(large, tmp_path))
    assert fetch(CHOSEN, _client(large, tmp_path)).read_bytes() == LARGE
    assert large.ranges[-1] is None


def test_a_damaged_file_is_refused_and_dropped(hub: StubHub, tmp_path: Path) -> None:
    """Content that is not what the hub says is not built, and not in the cache the next time."""
    hub.sha256 = "0" * 64
    assert "arrived damaged" in _failure(_client(hub, tmp_path))
    hub.sha256 = None
    assert fetch(CHOSEN, _client(hub, tmp_path)).read_bytes() == CONTENT


def test_a_disk_that_is_too_small_is_known_beforehand(hub: StubHub, tmp_path: Path) -> None:
    """Nothing is downloaded when it cannot fit."""
    hub.size = 10**18
    assert "the disk is full: 1,000,000,000,000 MB are needed" in _failure(_client(hub, tmp_path))
    assert hub.ranges == []


def test_a_file_that_is_there_needs_no_room(hub: StubHub, tmp_path: Path) -> None:
    """On a full disk the cache still serves."""
    first = fetch(CHOSEN, _client(hub, tmp_path))
    hub.size = 10**18
    assert fetch(CHOSEN, _client(hub, tmp_path)) == first


def test_a_cache_that_cannot_be_written_is_named(hub: StubHub, tmp_path: Path) -> None:
    """The disk is told apart from the network."""
    (tmp_path / "hub").write_text("not a folder")
    assert (
        _failure(_client(hub, tmp_path))
        == f"{REPOSITORY}: Not a directory: {tmp_path / 'hub' / 'models--timm--tf_efficientnet_b0.aa_in1k' / 'blobs'}"
    )


def test_a_checkpoint_that_the_hub_lacks_is_named(hub: StubHub, tmp_path: Path) -> None:
    """A repository that is gone is told apart from a network that is."""
    hub.files.clear()
    assert _failure(_client(hub, tmp_path)) == f"{REPOSITORY}: {hub.endpoint} has no such checkpoint"


@pytest.mark.parametrize(
    ("status", "error_code", "said"),
    [
        (401, None, "has no such checkpoint, or wants a token for it: set HF_TOKEN"),
        (401, "GatedRepo", "has no such checkpoint, or wants a token for it: set HF_TOKEN"),
        (401, "RepoNotFound", "has no such checkpoint, or wants a token for it: set HF_TOKEN"),
        (403, "GatedRepo", "refuses it: ask for access on its page there, and set HF_TOKEN"),
        (403, None, "refuses it: ask for access on its page there, and set HF_TOKEN"),
        (404, "EntryNotFound", "has no such checkpoint"),
        (404, None, "does not look like a model hub (a bare 404); check HF_ENDPOINT; run `effserve pull b0"),
        (429, None, "answered 429; run `effserve pull b0"),
        (500, None, "answered 500; run `effserve pull b0"),
    ],
)
def test_an_unwilling_hub_is_quoted(
    hub: StubHub, status: int, error_code: str | None, said: str, tmp_path: Path
) -> None:
    """One line has the hub's answer and what helps: a token, another address, another machine."""
    hub.status, hub.error_code = status, error_code
    assert f"{REPOSITORY}: {hub.endpoint} {said}" in _failure(_client(hub, tmp_path))
    assert hub.ranges == []


def test_a_page_instead_of_an_answer_is_no_hub(hub: StubHub, tmp_path: Path) -> None:
    """A captive portal, or a wrong `HF_ENDPOINT`, is not taken for a checkpoint."""
    hub.page = True
    assert "does not look like a model hub (no revision, size and SHA-256); check HF_ENDPOINT" in _failure(
        _client(hub, tmp_path)
    )
    assert hub.ranges == []


def test_a_file_without_checksum_is_not_downloaded(tmp_path: Path) -> None:
    """A server that has the file but knows no SHA-256 is not enough: damage could not be told."""
    with serving(file_server({REPOSITORY: CONTENT})) as server:
        assert "does not look like a model hub (no revision, size and SHA-256); check HF_ENDPOINT" in _failure(
            _client(server, tmp_path)
        )
        assert server.ranges == []


def test_without_network_the_error_says_what_to_do(nowhere: Hub) -> None:
    """One line names the way over another machine, and the one without trained weights."""
    message = _failure(nowhere)
    assert "cannot be reached" in message
    assert "`effserve pull b0 --tag aa_in1k` on a machine with network" in message


@pytest.mark.parametrize(("fault", "value"), [("status", 500), ("status", 429), ("page", True)])
def test_a_hub_in_trouble_is_replaced_by_the_cache(
    hub: StubHub, fault: str, value: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is there and intact serves while the hub says nothing of the file, and a line says so."""
    fetch(CHOSEN, _client(hub, tmp_path))
    setattr(hub, fault, value)
    assert fetch(CHOSEN, _client(hub, tmp_path)).read_bytes() == CONTENT
    assert caplog.messages[-1].startswith(f"{REPOSITORY}: {hub.endpoint} ")
    assert caplog.messages[-1].endswith("; the file in the cache is intact and is used instead")


def test_without_network_the_newest_version_of_the_cache_serves(hub: StubHub, nowhere: Hub, tmp_path: Path) -> None:
    """Of two revisions the one that was fetched last is taken."""
    os.utime(fetch(CHOSEN, _client(hub, tmp_path)), (0, 0), follow_symlinks=False)
    hub.files[REPOSITORY], hub.commit = CONTENT[::-1], LATER_COMMIT
    fetch(CHOSEN, _client(hub, tmp_path))
    assert fetch(CHOSEN, nowhere).read_bytes() == CONTENT[::-1]


def test_without_network_a_damaged_file_is_no_help(hub: StubHub, nowhere: Hub, tmp_path: Path) -> None:
    """The cache is believed as little as the network."""
    fetch(CHOSEN, _client(hub, tmp_path)).write_bytes(CONTENT[::-1])
    assert "cannot be reached" in _failure(nowhere)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_not_got_round_by_the_cache(hub: StubHub, status: int, tmp_path: Path) -> None:
    """A hub that says no has been reached."""
    fetch(CHOSEN, _client(hub, tmp_path))
    hub.status = status
    assert "HF_TOKEN" in _failure(_client(hub, tmp_path))


def test_offline_mode_asks_nobody(hub: StubHub, checkpoint: bytes, tmp_path: Path) -> None:
    """With `HF_HUB_OFFLINE` the command builds from the cache, and says so in one line."""
    hub.files[REPOSITORY] = checkpoint
    fetch(CHOSEN, _client(hub, tmp_path))
    hub.requests.clear()
    command = _pull_command(hub, tmp_path, HF_HUB_OFFLINE="1")
    _, errors = command.communicate()
    assert command.returncode == 0, errors
    assert errors.splitlines() == [
        "pulling [1/1] b0",
        f"{REPOSITORY}: HF_HUB_OFFLINE is set, so the hub is not asked;"
        " the file in the cache is intact and is used instead",
    ]
    assert hub.requests == []


def test_the_command_pulls_from_the_endpoint_in_the_environment(
    hub: StubHub, checkpoint: bytes, tmp_path: Path
) -> None:
    """`HF_ENDPOINT` leads the whole command to another hub."""
    hub.files[REPOSITORY] = checkpoint
    command = _pull_command(hub, tmp_path)
    said, errors = command.communicate()
    assert command.returncode == 0, errors
    assert [entry["folder"] for entry in json.loads(said)] == [str(tmp_path / "store" / "b0" / "1")]


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
