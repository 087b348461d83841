"""The words of ImageNet's classes by WordNet id."""

from functools import cache
from pathlib import Path

IMAGENET = Path(__file__).parent / "labels" / "imagenet-1k.tsv"


@cache
def words_of() -> dict[str, str]:
    """WordNet id → words, as `n01443537` → `goldfish, Carassius auratus`."""
    lines = IMAGENET.read_text(encoding="utf-8").splitlines()
    return {wnid: words for _, wnid, words in (line.split("\t") for line in lines)}
