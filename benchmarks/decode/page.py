"""Tables of a measurement, for the terminal and for `docs/preprocessing.md`."""

from benchmarks.decode.study import SIZE_PX, Apart, Effect, Pooled, Study, Timing
from benchmarks.report import Table, machine_table, others_table

DISTURBED = 0.05
"""Share of the cores' time for other processes, above which the tables say so."""
NONE = "–"


def tables(study: Study) -> list[Table]:
    """In the order they are shown."""
    return [
        _times_table(study),
        _parts_table(study),
        _apart_table(study.apart),
        _effects_table(study.effects),
        _pooled_table(study.pooled),
        machine_table(study.machine),
        others_table(study.others),
    ]


def _times_table(study: Study) -> Table:
    rows = [_times_row(one.carrier, one) for one in study.times if not one.what.startswith("part: ")]
    headings = ("photos as", "way", "mean", "single rounds", "median", "slowest photo", "mean, by the clock")
    return Table("Time for one image", headings, rows, _note(study))


def _parts_table(study: Study) -> Table:
    rows = [[one.what.removeprefix("part: "), *_figures(one)] for one in study.times if one.what.startswith("part: ")]
    headings = ("part, of a JPEG", "mean", "single rounds", "median", "slowest photo", "mean, by the clock")
    return Table("Where it goes", headings, rows, "Each alone, in milliseconds, as above.")


def _times_row(carrier: str, one: Timing) -> list[str]:
    return [carrier, one.what, *_figures(one)]


def _figures(one: Timing) -> list[str]:
    low, high = one.rounds_ms
    cells = (one.cpu_mean_ms, one.cpu_median_ms, one.cpu_most_ms, one.wall_mean_ms)
    mean, median, most, wall = (f"{cell:.2f}" for cell in cells)
    return [mean, f"{low:.2f} to {high:.2f}", median, most, wall]


def _note(study: Study) -> str:
    setting = study.setting
    photos = f"{setting.photos} {'made pictures' if setting.made else 'photos'}"
    disturbed = next((one.share for one in study.others if one.figure == "times"), 0.0)
    busy = (
        f" Measured on a busy machine: other processes had {disturbed:.0%} of the cores."
        if disturbed > DISTURBED
        else ""
    )
    return (
        f"Milliseconds of one thread's processor time, {photos} to {SIZE_PX} px, the least of {setting.rounds} rounds "
        f"for each photo. Single rounds: their means, from the quietest to the busiest.{busy}"
    )


def _apart_table(apart: tuple[Apart, ...]) -> Table:
    rows = [[one.images, str(one.count), f"{one.mean:.3f}", f"{one.changed:.1%}", str(one.most)] for one in apart]
    headings = ("images", "", "mean", "samples that differ", "most")
    return Table("Quick pixels beside exact ones", headings, rows, f"Levels of 255, at {SIZE_PX} px.")


def _effects_table(effects: tuple[Effect, ...]) -> Table:
    headings = (
        "network", "images", "", "at a reduced scale", "logits apart, mean", "most", "spread of logits",
        "another answer", "top-1, exact", "lost", "gained", "change, points",
    )  # fmt: skip
    note = "Lost: right by the exact way, wrong by the quick one; gained: the reverse; both of the labelled ones."
    return Table("What answers change", headings, [_effect_row(one) for one in effects], note)


def _effect_row(one: Effect) -> list[str]:
    judged = (
        [
            f"{one.right / one.labelled:.2%} of {one.labelled}", str(one.lost), str(one.gained),
            f"{100 * (one.gained - one.lost) / one.labelled:+.2f}",
        ]
        if one.labelled
        else [NONE] * 4
    )  # fmt: skip
    return [
        f"{one.variant}, {one.size_px} px", one.images, str(one.count), str(one.reduced), f"{one.logit_mean:.3f}",
        f"{one.logit_most:.2f}", f"{one.logit_spread:.2f}", str(one.changed), *judged,
    ]  # fmt: skip


def _pooled_table(pooled: Pooled | None) -> Table:
    headings = ("images", "answers", "lost", "gained", "change, points", "95 % interval")
    note = (
        "All networks and sizes together. Answers about one image are one observation; one image that changes to the "
        "better and one to the worse are added."
    )
    if pooled is None:
        return Table("Change of top-1", headings, [], note)
    low, high = (f"{100 * end:+.3f}" for end in pooled.interval)
    row = [
        str(pooled.images), str(pooled.answers), str(pooled.lost), str(pooled.gained), f"{100 * pooled.change:+.3f}",
        f"{low} to {high}",
    ]  # fmt: skip
    return Table("Change of top-1", headings, [row], note)
