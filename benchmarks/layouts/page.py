"""Tables of a comparison, for the terminal and for `docs/layouts.md`."""

from collections.abc import Callable, Iterator, Sequence
from statistics import mean

from benchmarks.layouts.study import Study, Turn, effective
from benchmarks.report import Table, machine_table, ms, others_table
from service.core.layout import ROOM, Layout, choose

NONE = "–"
DISTURBED = 0.05
"""Share of the cores' time for other processes, above which the tables say so."""
BUDGETS_MS = (10, 15, 20, 25, 30, 40, 50, 100)
"""Default budgets for which the choice is shown."""


def tables(study: Study) -> list[Table]:
    """In the order they are shown."""
    return [
        _layouts_table(study),
        _capacity_table(study),
        _limits_table(study),
        _choices_table(study),
        _setting_table(study),
        machine_table(study.machine),
        others_table(study.others),
    ]


def _layouts_table(study: Study) -> Table:
    headings = (
        "arrivals, budgets", "layout", "attained", "single rounds", "accuracy", "effective", "single rounds",
        "beside the first", "single rounds", "in time, a second", "simulated: attained", "effective",
        "beside the first",
    )  # fmt: skip
    rows = [row for trace in study.setting.traces for mix in study.setting.mixes for row in _cell(study, trace, mix)]
    note = (
        f"Points, means over {study.setting.rounds} rounds with a schedule each, the same for all layouts. Attained: "
        "answered within the budget from the scheduled moment on. Accuracy: mean top-1 published for the variants of "
        "those. Effective: a missed request counts 0. Simulated: the same schedules, with the service times of each "
        "server's calibration, without the event loop and the client process, which take from the same cores."
        f"{_disturbance(study)}"
    )
    return Table("Real server by layout", headings, rows, note)


def _cell(study: Study, trace: str, mix: str) -> Iterator[list[str]]:
    first = None
    for layout in _layouts(study):
        ours = sorted(
            (one for one in study.turns if (one.trace, one.mix, one.layout) == (trace, mix, layout)), key=_round
        )
        first = first or ours
        apart = [effective(a.real) - effective(b.real) for a, b in zip(ours, first, strict=True)]
        played = mean(effective(one.simulated) for one in ours)
        against = played - mean(effective(one.simulated) for one in first)
        yield [
            f"{trace}, {_range_of(mix)} ms",
            str(layout),
            *_both([one.real.attainment for one in ours]),
            _percent(mean(one.real.accuracy for one in ours)),
            *_both([effective(one.real) for one in ours]),
            *([NONE] * 2 if ours is first else _both(apart, _apart)),
            f"{mean(one.per_s for one in ours):.1f}",
            _percent(mean(one.simulated.attainment for one in ours)),
            _percent(played),
            NONE if ours is first else _apart(against),
        ]


def _round(turn: Turn) -> int:
    return turn.number


def _capacity_table(study: Study) -> Table:
    rows = []
    for name in study.setting.variants:
        first_s = None
        for one in sorted((c for c in study.capacities if c.variant == name), key=lambda c: c.layout.threads):
            per_s = mean(one.per_s)
            first_s = first_s or per_s
            rows.append([
                name, str(one.layout), f"{per_s:.1f}", f"{min(one.per_s):.1f} to {max(one.per_s):.1f}",
                f"{per_s / first_s:.2f}", ms(one.run_ms.median), ms(one.run_ms.p95), ms(one.run_ms.p99),
            ])  # fmt: skip
    headings = ("", "layout", "runs a second", "single rounds", "÷ the first", "run p50", "p95", "p99")
    note = (
        "All lanes busy, twice as many clients as lanes. Runs are decoding and inference, in milliseconds."
        f"{_disturbance(study)}"
    )
    return Table("Capacity and service times", headings, rows, note)


def _limits_table(study: Study) -> Table:
    every = _layouts(study)
    headings = ("budget ÷ usual time", *(f"{trace}, {layout}" for trace in study.setting.traces for layout in every))
    found = {(one.trace, one.times, one.layout): one for one in study.limits}
    rows = [
        [
            f"{times:g}",
            *(
                f"{_percent(one.effective)} ({_percent(one.attainment)})"
                for trace in study.setting.traces
                for one in (found[trace, times, layout] for layout in every)
            ),
        ]
        for times in study.setting.budgets
    ]
    note = (
        f"Simulated: effective accuracy (attained) where all requests have the same budget, in times of the "
        f"{ms(study.usual[0].usual_s * 1e3)} ms that {study.cheapest} usually takes on {every[0]}. The service takes "
        f"more threads below {ROOM:g}.{_disturbance(study)}"
    )
    return Table("Where quicker runs are worth more than more lanes", headings, rows, note)


def _choices_table(study: Study) -> Table:
    rows = []
    for budget_ms in BUDGETS_MS:
        chosen = choose(study.usual, study.cheapest, budget_ms / 1e3)
        rows.append([f"{budget_ms} ms", str(chosen.layout), chosen.why])
    return Table("What is chosen here", ("default budget", "layout", "why"), rows)


def _setting_table(study: Study) -> Table:
    setting = study.setting
    rows = [
        ("variants", ", ".join(setting.variants)),
        ("load of the cheapest variant alone", f"{setting.load:g} of {_layouts(study)[0]}"),
        *(("budgets (ms:weight)", mix) for mix in setting.mixes),
        ("seconds of a turn", f"{setting.seconds:g}, after {setting.warm_up_s:g} of warm-up"),
        ("requests that count", str(sum(one.requests for one in study.turns))),
        ("requests lost", str(sum(one.lost for one in study.turns))),
        ("loader lag, p99 of the worst turn", f"{ms(max(one.lag_p99_s for one in study.turns) * 1e3)} ms"),
        ("seed", str(setting.seed)),
    ]
    return Table("Setting", ("", ""), rows)


def _disturbance(study: Study) -> str:
    """A sentence where it was one."""
    share = max(one.share for one in study.others)
    if share <= DISTURBED:
        return ""
    return f" **Disturbed: other processes had {share:.0%} of the cores meanwhile, so these figures say nothing.**"


def _layouts(study: Study) -> list[Layout]:
    return [one.layout for one in study.usual]


def _range_of(mix: str) -> str:
    """`50:.2,…,800:.1` → `50–800`."""
    parts = mix.split(",")
    return f"{parts[0].partition(':')[0]}–{parts[-1].partition(':')[0]}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _apart(share: float) -> str:
    # Adding zero turns −0.0 into 0.0.
    return f"{round(100 * share, 2) + 0.0:+.2f}".replace("-", "−")


def _both(values: Sequence[float], shown: Callable[[float], str] = _percent) -> list[str]:
    """Mean, and from the least to the largest."""
    return [shown(mean(values)), f"{shown(min(values))} to {shown(max(values))}"]
