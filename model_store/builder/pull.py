"""Trained checkpoints from the model hub into the store, with the accuracy their publisher measured.

The hub's own client downloads: after a broken connection it goes on from the last 10 MiB it wrote (a stopped command
starts the file again), keeps whole files in its cache, and honours `HF_ENDPOINT`, `HF_HOME` and `HF_HUB_OFFLINE`. Over
HTTP it compares lengths, not contents, so the SHA-256 that the hub gives for the file is checked here; a file that
fails is dropped from the cache.
"""

import errno
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from model_store.builder import build, tags
from model_store.builder.store import Recipe, Stored, add, default_labels, read_classes
from model_store.builder.tags import Tag
from model_store.builder.weights import LoadedWeights, from_safetensors
from model_store.manifest import WeightsKind, sha256_of

CHECKPOINT_FILE = "model.safetensors"
SHA256 = re.compile(r"[0-9a-f]{64}")


class PullError(Exception):
    """A checkpoint cannot be fetched. One line: what is wrong and, without network, what to do instead."""


@dataclass(frozen=True, slots=True)
class Hub:
    """Where checkpoints come from, and where the client keeps them. None takes the client's own settings."""

    endpoint: str | None = None
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class _Remote:
    """What the hub says about a file, asked once, so that the download cannot be of another revision."""

    hub: str
    revision: str | None
    sha256: str | None
    """None when the hub gives another kind of checksum."""
    size_bytes: int | None


def pull(level: str, tag: str, store: Path, *, hub: Hub | None = None) -> Stored:
    """Fetch the checkpoint `tag` of `level`, build it, and put it into the store under the level's name.

    Raises `PullError`; `WeightsError` for a file that does not fit the network; `BuildError`; `OSError` (disk).
    """
    chosen = find(level, tag)
    return add(recipe(chosen, fetch(chosen, hub or Hub()), default_labels()), store)


def recipe(chosen: Tag, path: Path, labels: Path) -> Recipe:
    """What to build from the file of a published checkpoint. Raises `WeightsError` when it is that of another."""
    loaded = from_safetensors(path, build.state_shapes(chosen.spec, read_classes(labels)))
    return Recipe(
        spec=chosen.spec,
        weights=LoadedWeights(loaded.tensors, chosen.hub, loaded.sha256),
        kind=WeightsKind.CHECKPOINT,
        licence=chosen.licence,
        preprocessing=chosen.preprocessing,
        accuracy=chosen.accuracy,
        labels=labels,
    )


def find(level: str, tag: str) -> Tag:
    """As `tags.find`, with `PullError`."""
    try:
        return tags.find(level, tag)
    except tags.TagError as error:
        raise PullError(str(error)) from error


def fetch(chosen: Tag, hub: Hub) -> Path:
    """The file of a checkpoint, downloaded or from the client's cache, its checksum right. Raises `PullError`."""
    try:
        remote = _ask(chosen.hub, hub)
        _check_space(remote, hub)
        path = _download(remote, hub)
    except PullError:
        raise
    except Exception as error:
        # The client passes on its HTTP library's errors, which differ by release and share no base with its own.
        raise PullError(f"{chosen.hub}: {_reason(error, chosen, hub)}") from error
    _check_content(path, remote)
    return path


def _ask(repository: str, hub: Hub) -> _Remote:
    url = hf_hub_url(repository, CHECKPOINT_FILE, endpoint=hub.endpoint)
    said = get_hf_file_metadata(url, endpoint=hub.endpoint)
    sha256 = said.etag if said.etag and SHA256.fullmatch(said.etag) else None
    return _Remote(repository, said.commit_hash, sha256, said.size)


def _download(remote: _Remote, hub: Hub) -> Path:
    return Path(
        hf_hub_download(
            remote.hub, CHECKPOINT_FILE, revision=remote.revision, endpoint=hub.endpoint, cache_dir=hub.cache
        )
    )


def _check_space(remote: _Remote, hub: Hub) -> None:
    cache = hub.cache or Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if remote.size_bytes is not None and remote.size_bytes > free:
        needed, left = remote.size_bytes / 1e6, free / 1e6
        raise PullError(f"{remote.hub}: the disk is full: {needed:,.0f} MB are needed in {cache}, {left:,.0f} are free")


def _check_content(path: Path, remote: _Remote) -> None:
    if remote.sha256 is None or sha256_of(path) == remote.sha256:
        return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise PullError(
        f"{remote.hub}: {path.name} arrived damaged, its SHA-256 is not the hub's; it was dropped, try again"
    )


def _reason(error: Exception, chosen: Tag, hub: Hub) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full: no space left in {hub.cache or constants.HF_HUB_CACHE}"
    place = hub.endpoint or constants.ENDPOINT
    # The client takes "not cached, and no network" for a missing entry too.
    absent = isinstance(error, RepositoryNotFoundError | EntryNotFoundError)
    if absent and not isinstance(error, LocalEntryNotFoundError):
        return f"{place} has no such checkpoint"
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return f"{place} answered {error.response.status_code}; {_advice(chosen)}"
    said = " ".join(str(error).split()) or type(error).__name__
    return f"{place} cannot be reached ({said[:200]}); {_advice(chosen)}"


def _advice(chosen: Tag) -> str:
    elsewhere = (
        f"run `effserve pull {chosen.level} --tag {chosen.tag}` on a machine with network and copy its store here"
    )
    return f"{elsewhere}, or `effserve build` for untrained weights"
