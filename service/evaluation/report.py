"""A report as tables and sentences for a terminal. Text only: who prints it decides how."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from service.evaluation.cascades import Step
from service.evaluation.plan import shortened
from service.evaluation.results import Agreement, ClassResult, Report, Share, VariantResult

HEADINGS = ("top-1 % (95 %)", "top-5 % (95 %)", "ECE %", "at T", "T", "run ms", "decode")
DOMINATED = "*"
NONE = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; each column is (heading, justify)."""

    title: str
    columns: list[tuple[str, str]]
    rows: list[list[str]]


def headline(report: Report) -> str:
    """What was evaluated on what."""
    limited = report.limit is not None and report.limit < report.images_found
    chosen = f", chosen evenly from {report.images_found}" if limited else ""
    return f"{report.dataset}: {extent(report)}{chosen}"


def extent(judged: Report | VariantResult) -> str:
    """On how many images and classes."""
    return f"{_counted(judged.images, 'image')}, {_counted(judged.classes, 'class', 'es')}"


def variants_table(report: Report) -> Table:
    """One row for each variant, quickest first. On how many images stands there where it differs."""
    extents = [[str(result.images), str(result.classes)] for result in report.variants]
    counted = any(extent != extents[0] for extent in extents)
    headings = [*(("images", "classes") if counted else ()), *HEADINGS]
    rows = [
        [_marked(result), *(extent if counted else ()), *_figures(result)]
        for result, extent in zip(report.variants, extents, strict=True)
    ]
    return Table("", [("variant", "left"), *((heading, "right") for heading in headings)], rows)


def agreement_table(agreement: Agreement, width: int) -> Table | None:
    """Below the diagonal, in percent; None for a single variant. Numbers for names where these would be too wide."""
    names = agreement.variants
    if len(names) < 2:
        return None
    numbers = [str(number) for number in range(1, len(names) + 1)]
    wide = max(map(len, names)) + sum(2 + max(len(name), 5) for name in names[:-1]) > width
    heads = numbers if wide else names
    rows = [
        [f"{numbers[row]} {name}" if wide else name, *(_percent(share) for share in agreement.shares[row][:row])]
        for row, name in enumerate(names)
        if row > 0 or wide
    ]
    padded = [cells + [""] * (len(names) - len(cells)) for cells in rows]
    return Table("same answer %", [("", "left"), *((head, "right") for head in heads[:-1])], padded)


def cascades_table(report: Report) -> Table | None:
    """One row for each pair, a column for each share of upgrades; None where there is no pair."""
    if not report.cascades:
        return None
    heads = [f"{step.share * 100:.0f} %" for step in report.cascades[0].steps]
    columns = [("cascade", "left"), *((head, "right") for head in heads), ("alone", "right")]
    rows = [
        [f"{one.first} → {one.second}", *map(_step, one.steps), _percent(one.second_alone)] for one in report.cascades
    ]
    return Table("top-1 % (below confidence) of cascades, by share upgraded", columns, rows)


def _step(step: Step) -> str:
    return _percent(step.top1) + ("" if step.threshold is None else f" ({step.threshold:.2f})")


def per_class_table(report: Report) -> Table:
    """Top-1 of each class, those that all variants together find hardest first."""
    found: dict[str, dict[str, ClassResult]] = {}
    for result in report.variants:
        for row in result.per_class:
            found.setdefault(row.wnid or row.label, {})[result.name] = row
    columns = [("class", "left"), ("images", "right"), *((result.name, "right") for result in report.variants)]
    names = [result.name for result in report.variants]
    return Table(
        "top-1 % by class", columns, [_class_row(found[key], names) for key in sorted(found, key=_hardness(found))]
    )


def notes(report: Report) -> Iterator[str]:
    """What a reader of the tables has to know."""
    yield (
        f"Times are medians in ms, {report.threads} images in work at once. ECE: expected calibration error, as served "
        "and with logits divided by T, the temperature fitted to these images."
    )
    dominated = [f"{one.name} by {one.dominated_by[0]}" for one in report.variants if one.dominated_by]
    if dominated:
        yield f"{DOMINATED} dominated, that is neither quicker nor more accurate than another: {', '.join(dominated)}."
    if len({one.group for one in report.variants}) > 1:
        yield "Variants judged on different images are not compared with each other."
    choices = {one.classes_total: one.labels for one in report.variants}
    if len(choices) > 1:
        among = " or ".join(f"{total} ({labels})" for total, labels in sorted(choices.items()))
        yield f"The more classes a variant chooses among, the harder: {among}."
    untrained = [one.name for one in report.variants if not one.trained]
    if untrained:
        yield f"Untrained weights, which answer at random: {', '.join(untrained)}."


def warnings(report: Report) -> Iterator[str]:
    """What was left out, and why."""
    missing: dict[tuple[str, ...], list[str]] = {}
    for result in report.variants:
        missing.setdefault(result.left_out, []).append(result.name)
    for folders, names in missing.items():
        if folders:
            yield f"left out, no class of {', '.join(names)}: {shortened(folders)}"
    if report.unclassed:
        yield f"left out, {_counted(len(report.unclassed), 'image')} without a class: {shortened(report.unclassed)}"
    if report.unreadable:
        named = [f"{one.name} ({one.reason})" for one in report.unreadable]
        yield f"left out, {_counted(len(named), 'image')} that cannot be read: {shortened(named)}"
    for refused in report.not_evaluated:
        yield f"not evaluated: {refused.name} version {refused.version}: {refused.reason}"


def _marked(result: VariantResult) -> str:
    return result.name + (DOMINATED if result.dominated_by else "")


def _figures(result: VariantResult) -> list[str]:
    return [
        _with_interval(result.top1),
        NONE if result.top5 is None else _with_interval(result.top5),
        _percent(result.ece),
        _percent(result.ece_at_temperature),
        f"{result.temperature:.2f}",
        _ms(result.inference_ms.median),
        _ms(result.decode_ms.median),
    ]


def _hardness(found: Mapping[str, Mapping[str, ClassResult]]) -> Callable[[str], tuple[float, str]]:
    return lambda key: (fmean(row.top1.value for row in found[key].values()), key)


def _class_row(rows: Mapping[str, ClassResult], names: Sequence[str]) -> list[str]:
    """One class; its first synonym stands for the others."""
    first = next(iter(rows.values()))
    shares = [_percent(rows[name].top1.value) if name in rows else NONE for name in names]
    return [f"{first.wnid} {first.label.partition(',')[0]}".strip(), str(first.images), *shares]


def _counted(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"


def _with_interval(share: Share) -> str:
    return f"{_percent(share.value)} ({_percent(share.low)}–{_percent(share.high)})"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:.1f}"


def _ms(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
