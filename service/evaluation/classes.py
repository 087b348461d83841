"""Names of folders → classes of a variant: by WordNet id, by a label's words, or by one of its synonyms.

Labels are written as `great white shark, white shark, Carcharodon carcharias`: synonyms between commas. Names are
compared without regard to case, and an underscore is a space. A name that two classes share (ImageNet has two cranes)
stands for neither.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from service.core.messages import Label


def class_indices(labels: Sequence[Label]) -> Mapping[str, int]:
    """Every name that means one class, normalised, with its index. Ids win over whole labels, those over synonyms."""
    synonyms = [(part, index) for index, label in enumerate(labels) for part in label.text.split(",")]
    texts = [(label.text, index) for index, label in enumerate(labels)]
    ids = [(label.wnid, index) for index, label in enumerate(labels)]
    return _unambiguous(synonyms) | _unambiguous(texts) | _unambiguous(ids)


def known(names: Sequence[str], labels: Sequence[Label]) -> dict[int, int]:
    """Position in `names` → class index, of those names that the labels have."""
    indices = class_indices(labels)
    found = ((position, indices.get(normalised(name))) for position, name in enumerate(names))
    return {position: index for position, index in found if index is not None}


def identity(label: Label) -> str:
    """What makes two label sets' classes the same class: the WordNet id, or else the words."""
    return label.wnid.lower() or normalised(label.text)


def normalised(name: str) -> str:
    """Lower case, underscores as spaces, single spaces."""
    return " ".join(name.replace("_", " ").lower().split())


def _unambiguous(named: Iterable[tuple[str, int]]) -> dict[str, int]:
    pairs = {(normalised(name), index) for name, index in named}
    classes = Counter(name for name, _ in pairs)
    return {name: index for name, index in pairs if name and classes[name] == 1}
