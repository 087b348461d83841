"""What a terminal shows of a report."""

from itertools import chain

import pytest

from service.core.messages import RefusedVariant
from service.evaluation.report import (
    Table,
    agreement_table,
    extent,
    headline,
    notes,
    per_class_table,
    variants_table,
    warnings,
)
from service.evaluation.results import Agreement, ClassResult, Unreadable
from tests.unit.evaluation.kit import report, result, share


def cells(table: Table | None) -> list[list[str]]:
    """Headings and rows."""
    assert table is not None
    return [[heading for heading, _ in table.columns], *table.rows]


def test_the_headline_says_what_was_evaluated() -> None:
    """And that a limit left some out, if it did."""
    assert headline(report(result("b0"))) == "mine: 100 images, 10 classes"
    assert headline(report(result("b0"), limit=100)) == "mine: 100 images, 10 classes"
    limited = report(result("b0"), limit=100, images_found=800)
    assert headline(limited) == "mine: 100 images, 10 classes, chosen evenly from 800"
    assert extent(report(images=1, classes=1)) == "1 image, 1 class"


def test_a_row_says_it_all() -> None:
    """In percent and milliseconds; a dominated variant has a mark."""
    table = variants_table(report(result("b0", 5), result("b1", 246.8, top5=None, dominated_by=("b0",))))
    assert cells(table) == [
        ["variant", "top-1 % (95 %)", "top-5 % (95 %)", "ECE %", "at T", "T", "run ms", "decode"],
        ["b0", "70.0 (60.4–78.1)", "100.0 (96.3–100.0)", "12.3", "4.5", "1.50", "2.5", "2.5"],
        ["b1*", "70.0 (60.4–78.1)", "–", "12.3", "4.5", "1.50", "123", "123"],
    ]


def test_images_and_classes_stand_in_the_table_where_they_differ() -> None:
    """The headline says them otherwise."""
    table = variants_table(report(result("b0"), result("b1", images=70, classes=4)))
    assert [row[:3] for row in cells(table)] == [
        ["variant", "images", "classes"],
        ["b0", "100", "10"],
        ["b1", "70", "4"],
    ]


def test_agreement_stands_below_the_diagonal() -> None:
    """Once for each pair."""
    table = agreement_table(report(result("b0"), result("b1"), result("b2")).agreement, 80)
    assert cells(table) == [["", "b0", "b1"], ["b1", "50.0", ""], ["b2", "50.0", "50.0"]]


def test_names_too_wide_for_columns_are_numbered() -> None:
    """Twelve variants fit on 80 columns."""
    names = [f"b{number}-g16" for number in range(12)]
    table = agreement_table(report(*map(result, names)).agreement, 80)
    shown = cells(table)
    assert shown[0] == ["", *map(str, range(1, 12))]
    assert [row[0] for row in shown[1:]] == [f"{number} {name}" for number, name in enumerate(names, 1)]
    assert len(shown[1]) == len(shown[12]) == 12
    assert sum(2 + max(len(row[column]) for row in shown) for column in range(12)) - 2 <= 80


def test_one_variant_agrees_with_nobody() -> None:
    """There is no table; and no figure where two were never asked the same."""
    assert agreement_table(report(result("b0")).agreement, 80) is None
    apart = Agreement(("b0", "b1"), ((1.0, None), (None, 1.0)), ((9, 0), (0, 9)))
    assert cells(agreement_table(apart, 80))[1] == ["b1", "–"]


def test_the_hardest_classes_come_first() -> None:
    """A class is one row for all variants, by its id; one that a variant lacks is no miss."""
    goldfish = ClassResult("n01443537", "goldfish, Carassius auratus", 4, share(3, 4))
    mine = ClassResult("", "my own", 2, share(1, 2))
    other = ClassResult("n01443537", "gold fish", 4, share(4, 4))
    table = per_class_table(report(result("b0", per_class=(goldfish, mine)), result("b1", per_class=(other,))))
    assert cells(table) == [
        ["class", "images", "b0", "b1"],
        ["my own", "2", "50.0", "–"],
        ["n01443537 goldfish", "4", "75.0", "100.0"],
    ]


def test_notes_say_no_more_than_there_is_to_say() -> None:
    """One for a single trained variant."""
    (note,) = notes(report(result("b0")))
    assert "2 images in work at once" in note


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"dominated_by": ("b1", "b2")}, "neither quicker nor more accurate than another: b0 by b1."),
        ({"group": 1}, "Variants judged on different images are not compared with each other."),
        ({"classes_total": 1000, "labels": "imagenet-1k"}, "the harder: 10 (few) or 1000 (imagenet-1k)"),
        ({"trained": False}, "Untrained weights, which answer at random: b0."),
    ],
)  # fmt: skip
def test_notes_explain_what_needs_it(changed: dict[str, object], note: str) -> None:
    """One sentence each."""
    shown = list(notes(report(result("b0", **changed), result("b1"))))  # type: ignore[arg-type]
    assert len(shown) == 2
    assert note in shown[1]


def test_everything_left_out_is_named() -> None:
    """The first few of each kind, and how many more."""
    whole = report(
        result("b0", left_out=("unicorn",)),
        result("b1", left_out=tuple("abcdefg")),
        result("b2", left_out=("unicorn",)),
        unclassed=("cover.png",),
        unreadable=tuple(Unreadable(f"{name}.jpg", "cut") for name in "abcdefg"),
        not_evaluated=(RefusedVariant("b3", "2", "it is damaged"),),
    )
    assert list(warnings(whole)) == [
        "left out, no class of b0, b2: unicorn",
        "left out, no class of b1: a, b, c, d, e and 2 more",
        "left out, 1 image without a class: cover.png",
        "left out, 7 images that cannot be read: a.jpg (cut), b.jpg (cut), c.jpg (cut), d.jpg (cut), e.jpg (cut) "
        "and 2 more",
        "not evaluated: b3 version 2: it is damaged",
    ]
    assert list(warnings(report(result("b0")))) == []


def test_nothing_in_the_tables_is_empty() -> None:
    """But the upper half of the agreement."""
    whole = report(result("b0"), result("b1"))
    assert all(chain.from_iterable(variants_table(whole).rows))
