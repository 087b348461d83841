"""Labelled images → batches. Every image of every epoch is drawn from the run's seed, its epoch and its index alone.

So a run that was killed goes on exactly as it would have, whatever worker process prepares which image. Images that
cannot be decoded are left out of their batch and named once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model_store import pictures
from model_store.images import ImageSet
from model_store.training.augment import centre_crop, rand_augment, random_crop
from model_store.training.recipe import Phase, Recipe, phase_at

ORDER, AUGMENTING, MIXING = range(1, 4)
"""What a random stream is for: the first word of its seed, so that no two streams are the same."""
IMBALANCE = 2.0
"""Classes whose sizes differ by more than this factor are drawn more evenly."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One image of one epoch."""

    index: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Batch:
    """uint8 [n, 3, size, size] and labels [n]; `damaged` are names of files that would not decode."""

    images: Tensor
    labels: Tensor
    damaged: tuple[str, ...]

    def pin_memory(self) -> "Batch":
        """Called by the loader, so that copies to a GPU need not wait."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.damaged)


Item = tuple[Tensor, int] | str
"""Pixels and label, or the name of a damaged file."""


class TrainingImages(Dataset[Item]):
    """What the workers do: read, decode, crop, augment."""

    def __init__(self, images: ImageSet, recipe: Recipe) -> None:
        self._images, self._recipe = images, recipe

    def __getitem__(self, draw: Draw) -> Item:
        """uint8 [3, size, size] and the label."""
        sample = self._images.samples[draw.index]
        random = np.random.default_rng((AUGMENTING, self._recipe.seed, draw.epoch, draw.index))
        picture = decode(self._images, draw.index)
        if picture is None:
            return sample.name
        return _pixels(self._augmented(picture, phase_at(self._recipe, draw.epoch), random)), sample.label

    def _augmented(self, picture: Image.Image, phase: Phase, random: np.random.Generator) -> Image.Image:
        recipe = self._recipe
        if phase.name == "fine-tune":
            picture = centre_crop(picture, phase.size_px, recipe.crop_pct)
        else:
            picture = random_crop(picture, phase.size_px, recipe.smallest_crop, random)
            picture = rand_augment(picture, recipe.rand_augment_operations, recipe.rand_augment_magnitude, random)
        return ImageOps.mirror(picture) if random.random() < 0.5 else picture


class TestImages(Dataset[Item]):
    """Unaugmented, at one size."""

    def __init__(self, images: ImageSet, size_px: int, crop_pct: float) -> None:
        self._images, self._size_px, self._crop_pct = images, size_px, crop_pct

    def __len__(self) -> int:
        return len(self._images.samples)

    def __getitem__(self, index: int) -> Item:
        """uint8 [3, size, size] and the label."""
        sample, picture = self._images.samples[index], decode(self._images, index)
        return (
            sample.name
            if picture is None
            else (_pixels(centre_crop(picture, self._size_px, self._crop_pct)), sample.label)
        )


class Draws:
    """The batches of the whole run from step `first` on, as lists of draws."""

    def __init__(self, images: ImageSet, recipe: Recipe, first: int) -> None:
        self._recipe, self._first = recipe, first
        self._weights, self._count = class_weights(images), len(images.samples)
        self.per_epoch = steps_per_epoch(len(images.samples), recipe.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, skipped = divmod(self._first, self.per_epoch)
        for number in range(epoch, self._recipe.epochs + self._recipe.fine_tune_epochs):
            yield from self._batches(number)[skipped:]
            skipped = 0

    def _batches(self, epoch: int) -> list[list[Draw]]:
        random = np.random.default_rng((ORDER, self._recipe.seed, epoch))
        if self._weights is None:
            order = random.permutation(self._count)
        else:
            order = random.choice(self._count, self._count, p=self._weights)
        size = self._recipe.batch_size
        return [[Draw(int(i), epoch) for i in order[at * size : (at + 1) * size]] for at in range(self.per_epoch)]


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Full batches only; fewer images than one batch make one."""
    return max(images // batch_size, 1)


def class_weights(images: ImageSet) -> np.ndarray | None:
    """Probabilities of drawing each image: by 1/√n of its class of n. None when the classes are about equal."""
    counts = np.array(images.counts())
    if counts.max() <= IMBALANCE * counts.min():
        return None
    weights = 1 / np.sqrt(counts[[sample.label for sample in images.samples]])
    return np.asarray(weights / weights.sum())


def remarks(images: ImageSet) -> list[str]:
    """What is odd about the data and what is done about it, a line each."""
    counts = images.counts()
    single = [name for name, count in zip(images.classes, counts, strict=True) if count == 1]
    lines = []
    if single:
        number = "1 class has" if len(single) == 1 else f"{len(single)} classes have"
        lines.append(f"{number} one image, too few to learn from: {', '.join(single[:5])}")
    if images.unclassed:
        shown = ", ".join(images.unclassed[:5])
        lines.append(f"{len(images.unclassed)} images lie in no class folder and are left out: {shown}")
    if max(counts) > IMBALANCE * min(counts):
        lines.append(
            f"classes have {min(counts)} to {max(counts)} images; each is drawn as the root of its size, so that "
            "small ones are seen more often"
        )
    return lines


def decode(images: ImageSet, index: int) -> Image.Image | None:
    """The image in RGB, upright, as the service sees it; None when it cannot be decoded.

    Raises `OSError` when it cannot be read.
    """
    content = images.read(images.samples[index])
    try:
        return pictures.picture(content)
    except MemoryError:
        raise
    except Exception:
        # Decoders raise whatever they stumble over; the file is named by the caller and left out.
        return None


def loader(
    dataset: Dataset[Item], batches: Iterable[Sequence[object]], *, workers: int, pin: bool
) -> "DataLoader[Batch]":
    """Batches prepared by `workers` processes, ahead of their use."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
    )


def test_batches(count: int, batch_size: int) -> list[list[int]]:
    """All indices in order."""
    return [list(range(at, min(at + batch_size, count))) for at in range(0, count, batch_size)]


def collate(items: Sequence[Item]) -> Batch:
    """Items of a batch, less the damaged ones."""
    sound = [item for item in items if not isinstance(item, str)]
    pixels = torch.stack([pixels for pixels, _ in sound]) if sound else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    labels = torch.tensor([label for _, label in sound], dtype=torch.long)
    return Batch(pixels, labels, tuple(item for item in items if isinstance(item, str)))


def _pixels(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _one_thread(_: int) -> None:
    """Workers share the cores with the training."""
    torch.set_num_threads(1)
