"""Which class a folder's name means."""

import pytest

from model_store.builder.recipes import default_labels
from service.core.messages import Label
from service.evaluation.classes import identity, known
from service.pipeline.store import read_labels

LABELS = (
    Label("n01443537", "goldfish, Carassius auratus"),
    Label("n01484850", "great white shark, white shark"),
    Label("n02012849", "crane"),
    Label("n03126707", "crane, hoist"),
    Label("", "own  Class"),
)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("n01443537", 0),
        ("N01443537", 0),
        ("goldfish", 0),
        ("Carassius_auratus", 0),
        ("goldfish, Carassius auratus", 0),
        ("White_Shark", 1),
        ("great white  shark", 1),
        ("crane", 2),
        ("hoist", 3),
        ("own class", 4),
    ],
)
def test_a_name_is_an_id_a_label_or_a_synonym(name: str, index: int) -> None:
    """Without regard to case, underscores and spaces; a whole label wins over a synonym of another."""
    assert known([name], LABELS) == {0: index}


@pytest.mark.parametrize("name", ["shark", "n01443538", "", "auratus", "gold fish"])
def test_what_is_no_class_is_not_known(name: str) -> None:
    """No guesses; and a class without an id is not what an empty name means."""
    assert known([name], LABELS) == {}


def test_a_name_of_two_classes_is_neither() -> None:
    """As with ImageNet's cranes."""
    twice = (Label("n1", "crane"), Label("n2", "crane"), Label("n3", "bird, hoist"), Label("n4", "tackle, hoist"))
    assert known(["crane", "hoist", "n2", "tackle"], twice) == {2: 1, 3: 3}


def test_several_folders_may_mean_one_class() -> None:
    """By position, those that are known."""
    assert known(["goldfish", "nothing", "n01443537"], LABELS) == {0: 0, 2: 0}


def test_every_class_that_ships_is_found_by_its_id() -> None:
    """And all but the two cranes by their labels."""
    labels = read_labels(default_labels())
    assert known([label.wnid for label in labels], labels) == {index: index for index in range(1000)}
    by_label = known([label.text for label in labels], labels)
    assert set(range(1000)) - by_label.keys() == {134, 517}
    assert all(position == index for position, index in by_label.items())


def test_a_class_is_the_same_in_two_label_sets_by_id_or_words() -> None:
    """Words may differ where the id does not."""
    assert identity(Label("n01443537", "goldfish")) == identity(LABELS[0])
    assert identity(Label("", "Own_class")) == identity(LABELS[4])
    assert identity(LABELS[2]) != identity(LABELS[3])
