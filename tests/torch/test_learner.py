"""Averaged weights and weight decay: what a step does beside following the gradient."""

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make torch` runs these")

from torch import Tensor, nn  # noqa: E402

from model_store.builder.spec import Spec, custom, resolve  # noqa: E402
from model_store.training.learner import LAST_LAYERS, Learner, optimizer  # noqa: E402
from model_store.training.network import EfficientNet  # noqa: E402
from model_store.training.recipe import Phase, Recipe, ema_decay  # noqa: E402

SMALL = custom("small", width=0.25, depth=0.3, resolution=64)
SMALL_PROXY = replace(SMALL, group_width=16, expansion=4, norm="proxy")
CLASSES, STEPS_PER_EPOCH = 3, 4
FINE_TUNING = Phase("fine-tune", 1, 64)


def recipe(**changes: Any) -> Recipe:  # noqa: ANN401
    """One epoch of each kind."""
    return Recipe(**{"size_px": 64, "train_size_px": 32, "epochs": 1, "fine_tune_epochs": 1} | changes)


def learner(spec: Spec = SMALL, **changes: Any) -> Learner:  # noqa: ANN401
    """Before its first step."""
    return Learner(spec, recipe(**changes), classes=CLASSES, steps_per_epoch=STEPS_PER_EPOCH)


def batch(seed: int, size_px: int = 32) -> tuple[Tensor, Tensor]:
    """Noise with labels."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (4, 3, size_px, size_px), dtype=torch.uint8, generator=random), torch.arange(4) % 3


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Its floating-point tensors as they are now."""
    return {name: value.clone() for name, value in network.state_dict().items() if value.is_floating_point()}


# Averaged weights.


def test_averages_follow_by_the_recipe_s_decay() -> None:
    """After each step: decay · average + (1 − decay) · weights, batch statistics included."""
    one = learner(ema_decay=0.9)
    expected = copied(one.averaged)
    for step in range(3):
        one.learn(*batch(step), step)
        decay, present = ema_decay(recipe(ema_decay=0.9), step), copied(one.network)
        expected = {name: decay * value + (1 - decay) * present[name] for name, value in expected.items()}
    assert all(torch.allclose(value, expected[name], atol=1e-6) for name, value in copied(one.averaged).items())


def test_averages_lag_behind() -> None:
    """They are not the weights of the last step."""
    one = learner()
    for step in range(2):
        one.learn(*batch(step), step)
    assert not torch.allclose(one.averaged.classifier.weight, one.network.classifier.weight)


def test_no_decay_copies_the_weights() -> None:
    """Averages of one step are that step."""
    one = learner(ema_decay=0.0)
    one.learn(*batch(0), 0)
    assert all(torch.equal(value, copied(one.network)[name]) for name, value in copied(one.averaged).items())


def test_averages_learn_nothing_themselves() -> None:
    """They are judged, so dropout and batch statistics are off, and no gradient reaches them."""
    one = learner()
    one.learn(*batch(0), 0)
    assert not any(module.training for module in one.averaged.modules())
    assert all(parameter.grad is None for parameter in one.averaged.parameters())


def test_fine_tuning_begins_with_the_averages() -> None:
    """The weights of the last step are left behind."""
    one = learner()
    for step in range(2):
        one.learn(*batch(step), step)
    averages = copied(one.averaged)
    one.enter(FINE_TUNING)
    assert all(torch.equal(value, averages[name]) for name, value in copied(one.network).items())


def test_fine_tuned_averages_are_the_weights() -> None:
    """The rate falls to zero, so the last weights need no averaging."""
    one = learner()
    one.learn(*batch(0), 0)
    one.learn(*batch(1, 64), STEPS_PER_EPOCH)
    assert all(torch.equal(value, copied(one.network)[name]) for name, value in copied(one.averaged).items())


# Weight decay.


def groups_of(network: nn.Module, **changes: Any) -> tuple[set[str], set[str]]:  # noqa: ANN401
    """Names of the parameters that decay, and of those that do not."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    found = optimizer(network, recipe(weight_decay=0.05, **changes)).param_groups
    assert [group["weight_decay"] for group in found] == [0.05, 0.0]
    decayed, plain = ({names[parameter] for parameter in group["params"]} for group in found)
    return decayed, plain


def small_network(spec: Spec) -> EfficientNet:
    """Untrained."""
    return EfficientNet(spec, CLASSES)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("spec", [SMALL, SMALL_PROXY], ids=["batch norm", "Proxy Norm"])
def test_every_parameter_is_in_one_group(spec: Spec, kind: str) -> None:
    """With either optimiser: none is forgotten, none is stepped twice."""
    network = small_network(spec)
    decayed, plain = groups_of(network, optimizer=kind)
    assert decayed | plain == {name for name, _ in network.named_parameters()}
    assert not decayed & plain


def test_matrices_decay_and_norms_and_biases_do_not() -> None:
    """Convolutions and the classifier's weight on one side; γ, β and all biases on the other."""
    decayed, plain = groups_of(small_network(SMALL))
    assert {"conv_stem.weight", "classifier.weight", "blocks.1.0.se.conv_reduce.weight"} <= decayed
    assert {"bn1.weight", "bn1.bias", "classifier.bias", "blocks.1.0.se.conv_reduce.bias"} <= plain


def test_proxy_norm_s_own_parameters_decay() -> None:
    """β̃ and γ̃, vectors though they are; the γ and β beside them do not (Labatie et al., arXiv 2106.03743)."""
    decayed, plain = groups_of(small_network(SMALL_PROXY))
    assert {"bn1.proxy_weight", "bn1.proxy_bias"} <= decayed
    assert {"bn1.weight", "bn1.bias"} <= plain


def test_fine_tuning_leaves_frozen_parameters_out() -> None:
    """Or decay would shrink what the phase must not change."""
    one = learner()
    one.enter(FINE_TUNING)
    decayed, plain = groups_of(one.network)
    assert all(name.startswith(LAST_LAYERS) for name in decayed | plain)
    assert "classifier.weight" in decayed


def test_decay_alone_shrinks_matrices_and_nothing_else() -> None:
    """A step without gradients: matrices lose rate · decay of themselves, vectors nothing."""
    network = small_network(resolve("b0"))
    stepped = optimizer(network, recipe(weight_decay=0.5, learning_rate=0.1))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = copied(network)
    stepped.step()
    assert torch.allclose(network.classifier.weight, before["classifier.weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(network.bn1.weight, before["bn1.weight"])
