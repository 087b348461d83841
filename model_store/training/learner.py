"""What learns: a network, the average of its weights, and the optimiser of the phase that it is in. One step a call.

Nothing here knows of epochs, files or time; all randomness is set by the recipe's seed and the number of the step.
"""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from model_store.builder.spec import Spec, blocks
from model_store.builder.weights import IGNORED, untrained
from model_store.training import data
from model_store.training import recipe as recipes
from model_store.training.augment import cutmix, mixup
from model_store.training.network import EfficientNet
from model_store.training.recipe import Phase, Recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAST_LAYERS = ("blocks.6.", "conv_head.", "bn2.", "classifier.")
"""What fine-tuning changes."""


class Learner:
    """The part of a run that a checkpoint keeps."""

    def __init__(
        self,
        spec: Spec,
        recipe: Recipe,
        *,
        classes: int,
        steps_per_epoch: int,
        device: str = "cpu",
        initial: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._recipe, self._device = recipe, device
        self._classes, self._per_epoch = classes, steps_per_epoch
        self.network = begun(spec, recipe, classes, initial or {}).to(device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.network).eval()
        self.enter(recipes.phase_at(recipe, 0))

    def enter(self, phase: Phase) -> None:
        """Set up what a phase trains and by which optimiser. Fine-tuning goes on from the averaged weights."""
        self.phase = phase
        # Gradients of layers that are about to be frozen would go on counting in the norm that is clipped.
        self.network.zero_grad(set_to_none=True)
        if phase.name == "fine-tune":
            self.network.load_state_dict(self.averaged.state_dict())
            for name, parameter in self.network.named_parameters():
                parameter.requires_grad_(name.startswith(LAST_LAYERS))
        self.optimizer = optimizer(self.network, self._recipe)

    def learn(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """Step number `step` of the run, on uint8 [n, 3, s, s] and labels [n]; its loss, which may not be ready yet."""
        phase = recipes.phase_at(self._recipe, step // self._per_epoch)
        if (phase.name == "fine-tune") != (self.phase.name == "fine-tune"):
            self.enter(phase)
        self.phase = phase
        torch.manual_seed(self._recipe.seed * 1_000_003 + step)
        loss = self._loss(images, labels, step)
        self._optimise(loss, step)
        self._average(step)
        return loss.detach()

    def finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(value.isfinite().all()) for value in self.network.state_dict().values())

    def kept(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def take_up(self, kept: Mapping[str, Any], phase: Phase) -> None:
        """Go on with what `kept` gave in that phase."""
        self.enter(phase)
        self.network.load_state_dict(kept["network"])
        self.averaged.load_state_dict(kept["averaged"])
        self.optimizer.load_state_dict(kept["optimizer"])

    def _set_modes(self) -> None:
        """Batch statistics and dropout only where weights change."""
        if self.phase.name != "fine-tune":
            self.network.train()
            return
        self.network.eval()
        for name, module in self.network.named_modules():
            if f"{name}.".startswith(LAST_LAYERS):
                module.train()

    def _loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        self._set_modes()
        pixels, targets = normalised(images.to(self._device, non_blocking=True)), self._targets(labels)
        random = np.random.default_rng((data.MIXING, self._recipe.seed, step))
        if self.phase.name != "fine-tune" and random.random() < self._recipe.mix_probability:
            ways = (mixup, self._recipe.mixup_alpha), (cutmix, self._recipe.cutmix_alpha)
            mix, alpha = ways[random.random() < 0.5]
            pixels, targets = mix(pixels, targets, alpha, random)
        with autocast(self._recipe, self._device):
            return functional.cross_entropy(self.network(pixels).float(), targets)

    def _optimise(self, loss: Tensor, step: int) -> None:
        rate = recipes.learning_rate(self._recipe, step, self._per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self._recipe.clip_norm)
        self.optimizer.step()

    def _average(self, step: int) -> None:
        """Move the averaged weights towards the present ones; fine-tuning, whose rate falls to zero, just copies."""
        decay = 0.0 if self.phase.name == "fine-tune" else recipes.ema_decay(self._recipe, step)
        ours, theirs = self.averaged.state_dict(), self.network.state_dict()
        names = [name for name, value in ours.items() if value.is_floating_point()]
        with torch.no_grad():
            get_ema_multi_avg_fn(decay)([ours[n] for n in names], [theirs[n] for n in names], 0)

    def _targets(self, labels: Tensor) -> Tensor:
        smoothing = self._recipe.label_smoothing
        one_hot = functional.one_hot(labels.to(self._device, non_blocking=True), self._classes).float()
        return one_hot * (1 - smoothing) + smoothing / self._classes


def begun(spec: Spec, recipe: Recipe, classes: int, initial: Mapping[str, Tensor]) -> EfficientNet:
    """The network before its first step: seeded tensors, but for those of `initial`."""
    network = EfficientNet(spec, classes, dropout=recipe.dropout, drop_path=recipe.drop_path)
    state = network.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if not name.endswith(IGNORED)}
    seeded = {name: torch.from_numpy(value) for name, value in untrained(shapes, recipe.seed).tensors.items()}
    for block in blocks(spec):
        if block.has_skip:
            # It begins as the identity (Goyal et al., arXiv 1706.02677, §5.1), which speeds up the first epochs.
            seeded[f"{block.name}.bn{3 if block.expands else 2}.weight"].zero_()
    network.load_state_dict(state | seeded | dict(initial))
    return network


def optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Of the parameters that may change, in two groups: weight matrices and Proxy Norm's β̃ and γ̃ decay, others not."""
    learning = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    decayed = [p for name, p in learning if p.ndim > 1 or ".proxy_" in f".{name}"]
    plain = [p for name, p in learning if not (p.ndim > 1 or ".proxy_" in f".{name}")]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def normalised(images: Tensor) -> Tensor:
    """uint8 [n, 3, s, s] → float, zero mean and unit deviation over ImageNet, channels last, which is faster."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) * 255 for values in (MEAN, STD))
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def autocast(recipe: Recipe, device: str) -> AbstractContextManager[Any]:
    """The precision of forward passes."""
    kind = torch.device(device).type
    wanted = recipe.precision == "bfloat16" or (recipe.precision == "auto" and kind == "cuda")
    return torch.autocast(kind, torch.bfloat16, enabled=wanted)
