"""How often a network is right, on images as they will be tested."""

import torch
from torch import nn

from model_store.images import ImageSet
from model_store.training import data
from model_store.training.job import TrainingError
from model_store.training.learner import autocast, normalised
from model_store.training.recipe import Recipe


@torch.inference_mode()
def accuracy(network: nn.Module, images: ImageSet, recipe: Recipe, device: str, workers: int) -> tuple[float, float]:
    """Top-1 and top-5 on unaugmented images at the test size, as fractions of those that decode."""
    dataset = data.TestImages(images, recipe.size_px, recipe.crop_pct)
    batches = data.test_batches(len(dataset), recipe.batch_size)
    seen = first = among_five = 0
    for batch in data.loader(dataset, batches, workers=workers, pin=False):
        if not len(batch.labels):
            continue
        with autocast(recipe, device):
            logits = network(normalised(batch.images.to(device)))
        best = logits.topk(min(5, logits.shape[1])).indices.cpu() == batch.labels[:, None]
        seen, first, among_five = seen + len(best), first + int(best[:, 0].sum()), among_five + int(best.sum())
    if not seen:
        raise TrainingError(f"none of the {len(dataset)} images in {images.path} can be decoded")
    return first / seen, among_five / seen
