"""Trained checkpoints from the model hub into the store, with the accuracy their publisher measured.

`tags` knows what there is, `hub` brings the file; here it is built, under the preprocessing and with the figures of the
one who published it.
"""

from pathlib import Path

from model_store.builder import build, tags
from model_store.builder.hub import Hub, HubError, NoAnswer, fetch_file
from model_store.builder.recipes import Labels, Recipe, default_labels
from model_store.builder.store import Stored, add
from model_store.builder.tags import Tag
from model_store.builder.weights import LoadedWeights, from_safetensors
from model_store.manifest import WeightsKind

CHECKPOINT_FILE = "model.safetensors"


class PullError(Exception):
    """A checkpoint cannot be fetched. One line: what is wrong and, without network, what to do instead."""


def pull(level: str, tag: str, store: Path, *, hub: Hub | None = None) -> Stored:
    """Fetch the checkpoint `tag` of `level`, build it, and put it into the store under the level's name.

    Raises `PullError`; `WeightsError` for a file that does not fit the network; `BuildError`; `OSError` (disk).
    """
    chosen = find(level, tag)
    return add(recipe(chosen, fetch(chosen, hub or Hub()), default_labels()), store)


def recipe(chosen: Tag, path: Path, labels: Path) -> Recipe:
    """What to build from the file of a published checkpoint. Raises `WeightsError` when it is that of another."""
    known = Labels.read(labels)
    loaded = from_safetensors(path, build.state_shapes(chosen.spec, known.classes))
    return Recipe(
        spec=chosen.spec,
        weights=LoadedWeights(loaded.tensors, chosen.hub, loaded.sha256),
        kind=WeightsKind.CHECKPOINT,
        licence=chosen.licence,
        preprocessing=chosen.preprocessing,
        accuracy=chosen.accuracy,
        labels=known,
    )


def find(level: str, tag: str) -> Tag:
    """As `tags.find`, with `PullError`."""
    try:
        return tags.find(level, tag)
    except tags.TagError as error:
        raise PullError(str(error)) from error


def fetch(chosen: Tag, hub: Hub) -> Path:
    """The file of a checkpoint, its checksum right; without network from the hub client's cache. Raises `PullError`."""
    try:
        return fetch_file(chosen.hub, CHECKPOINT_FILE, hub)
    except NoAnswer as error:
        raise PullError(f"{chosen.hub}: {error}; {_advice(chosen)}") from error
    except HubError as error:
        raise PullError(f"{chosen.hub}: {error}") from error


def _advice(chosen: Tag) -> str:
    elsewhere = (
        f"run `effserve pull {chosen.level} --tag {chosen.tag}` on a machine with network and copy its store here"
    )
    return f"{elsewhere}, or `effserve build` for untrained weights"
