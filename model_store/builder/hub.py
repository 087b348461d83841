"""One file from the model hub, downloaded so that a killed run goes on where it stopped.

The hub's client keeps the cache, which other programs share, and honours `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and
`HF_HUB_OFFLINE`. Since 1.18 it gives each download a name of its own, so a killed run starts its file again. Its inner
`http_get` still resumes, within a run too, and draws the progress bar. So `http_get` fills `<SHA-256>.incomplete`, the
cache's name for an interrupted download; the whole file takes the cache's place for that content, where
`hf_hub_download` finds it and only files it under its revision. Other content has another name: it starts at zero.

The client gave this up because locks do nothing on some network file systems, where two runs then write one file. Here
every file is hashed each time it is used; what fails is dropped, and the cost is one more download.

Left out: Xet, the hub's transfer in parallel chunks, which keeps no partial file. Plain HTTP brings 20–270 MB as well.
"""

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]  # exported lazily

from model_store.manifest import sha256_of

LOG = logging.getLogger(__name__)
SHA256 = re.compile(r"[0-9a-f]{64}")
SAID_BY_HUBS = "X-Error-Code"
REFUSALS = {
    401: "has no such checkpoint, or wants a token for it: set HF_TOKEN to one that may read it",
    403: "refuses it: ask for access on its page there, and set HF_TOKEN to a token that may read it",
    404: "has no such checkpoint",
}
"""What these statuses say of a file. Any other says nothing of it."""


class HubError(Exception):
    """The file cannot be had. One line: what is wrong, and what helps."""


class NoAnswer(HubError):
    """Nothing was learnt of the file: no network, offline mode, a hub in trouble or no hub. The cache may stand in."""


@dataclass(frozen=True, slots=True)
class Hub:
    """Where files come from, and where the client keeps them. None takes the client's own settings."""

    endpoint: str | None = None
    cache: Path | None = None

    @property
    def place(self) -> str:
        """For messages."""
        return self.endpoint or constants.ENDPOINT

    @property
    def folder(self) -> Path:
        """The root of the client's cache."""
        return (self.cache or Path(constants.HF_HUB_CACHE)).absolute()


@dataclass(frozen=True, slots=True)
class _Remote:
    """What the hub says of a file, asked once, so that the download cannot be of another revision."""

    repository: str
    name: str
    revision: str
    sha256: str
    size_bytes: int

    @property
    def blob(self) -> Path:
        """Where the cache keeps this content, from its root."""
        return _in_cache(self.repository) / "blobs" / self.sha256

    @property
    def lock(self) -> Path:
        """The client's own for this content, from the root: whoever else wants the file waits as well."""
        return Path(".locks") / _in_cache(self.repository) / f"{self.sha256}.lock"


def fetch_file(repository: str, name: str, hub: Hub) -> Path:
    """The newest version of a file, in the cache, its SHA-256 right.

    Without an answer from the hub, the newest version that is in the cache already. Raises `HubError`.
    """
    try:
        remote = _ask(repository, name, hub)
    except NoAnswer as error:
        cached = _newest_intact(repository, name, hub)
        if cached is None:
            raise
        LOG.warning("%s: %s; the file in the cache is intact and is used instead", repository, error)
        return cached
    path = _bring(remote, hub)
    _check_content(path, remote)
    return path


def _ask(repository: str, name: str, hub: Hub) -> _Remote:
    try:
        said = get_hf_file_metadata(hf_hub_url(repository, name, endpoint=hub.endpoint), endpoint=hub.endpoint)
    except Exception as error:
        raise _explained(error, hub) from error
    revision, sha256, size_bytes = said.commit_hash, said.etag or "", said.size
    if revision is None or size_bytes is None or not SHA256.fullmatch(sha256):
        raise _no_hub("no revision, size and SHA-256", hub)
    return _Remote(repository, name, revision, sha256, size_bytes)


def _bring(remote: _Remote, hub: Hub) -> Path:
    """Its path in the cache, downloaded where it was not there yet."""
    cached = try_to_load_from_cache(remote.repository, remote.name, hub.folder, remote.revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        _complete(remote, hub)
        filed = hf_hub_download(
            remote.repository, remote.name, revision=remote.revision, endpoint=hub.endpoint, cache_dir=hub.folder
        )
    except HubError:
        raise
    except Exception as error:
        raise _broken_off(_explained(error, hub)) from error
    return Path(filed)


def _complete(remote: _Remote, hub: Hub) -> None:
    """See that the cache has this content: go on with what an earlier run left of it, or begin."""
    blob, lock = hub.folder / remote.blob, hub.folder / remote.lock
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        partial = blob.with_name(f"{blob.name}.incomplete")
        with partial.open("ab") as file:
            _append(file, remote, hub)
        partial.replace(blob)


def _append(file: BinaryIO, remote: _Remote, hub: Hub) -> None:
    """Download what is missing at the end. A file that is too long stays, to fail its checksum like any damaged one."""
    missing = remote.size_bytes - file.tell()
    if missing <= 0:
        return
    _check_space(missing, hub)
    # The revision's address, not the one it leads to: that one is signed and expires, so each try must ask anew.
    http_get(
        hf_hub_url(remote.repository, remote.name, revision=remote.revision, endpoint=hub.endpoint),
        file,
        resume_size=file.tell(),
        headers=build_hf_headers(),
        expected_size=remote.size_bytes,
        displayed_filename=remote.repository,
    )


def _check_space(missing_bytes: int, hub: Hub) -> None:
    free = shutil.disk_usage(hub.folder).free
    if missing_bytes > free:
        needed, left = missing_bytes / 1e6, free / 1e6
        raise HubError(f"the disk is full: {needed:,.0f} MB are needed in {hub.folder}, {left:,.0f} are free")


def _check_content(path: Path, remote: _Remote) -> None:
    if sha256_of(path) == remote.sha256:
        return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise HubError(f"{path.name} arrived damaged, its SHA-256 is not the hub's; it was dropped, try again")


def _newest_intact(repository: str, name: str, hub: Hub) -> Path | None:
    """Of the versions in the cache, which knows content by its SHA-256. None when there is none, or none intact."""
    folder = hub.folder / _in_cache(repository)
    filed = [path for path in folder.glob(f"snapshots/*/{name}") if path.exists()]
    newest_first = sorted(filed, key=lambda path: path.lstat().st_mtime, reverse=True)
    return next((path for path in newest_first if (folder / "blobs" / sha256_of(path)).exists()), None)


def _in_cache(repository: str) -> Path:
    """The folder of a repository, from the root of the cache."""
    return Path(repo_folder_name(repo_id=repository, repo_type="model"))


def _explained(error: Exception, hub: Hub) -> HubError:
    """The client's errors in one line. It passes on those of its HTTP library, which share no base with its own."""
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, hub)
    if isinstance(error, OfflineModeIsEnabled):
        return NoAnswer("HF_HUB_OFFLINE is set, so the hub is not asked")
    if isinstance(error, OSError) and error.errno is not None:
        return HubError(f"{error.strerror}: {error.filename or hub.folder}")
    said = " ".join(str(error).split()) or type(error).__name__
    return NoAnswer(f"{hub.place} cannot be reached ({said[:200]})")


def _refusal(error: HfHubHTTPError, hub: Hub) -> HubError:
    status = error.response.status_code
    if status == 404 and SAID_BY_HUBS not in error.response.headers:
        return _no_hub("a bare 404", hub)
    if status in REFUSALS:
        return HubError(f"{hub.place} {REFUSALS[status]}")
    return NoAnswer(f"{hub.place} answered {status}")


def _no_hub(why: str, hub: Hub) -> HubError:
    return NoAnswer(f"{hub.place} does not look like a model hub ({why}); check HF_ENDPOINT")


def _broken_off(error: HubError) -> HubError:
    """The same, of a download: whatever breaks a connection leaves a file to go on with."""
    if isinstance(error, NoAnswer):
        return HubError(f"{error}; what has arrived is kept, try again to go on")
    return error
