"""Tables of a validation, for the terminal and for `docs/validation.md`."""

from benchmarks.realtime.compare import ACCURACY_APART, ATTAINMENT_APART, LAG_SHARE, Comparison
from benchmarks.realtime.validation import Around, Service, Validation
from benchmarks.report import Table, machine_table, ms, others_table
from benchmarks.stats import Spread

NONE = "–"


def tables(validation: Validation) -> list[Table]:
    """In the order they are shown."""
    return [
        _agreement_table(validation),
        _what_happened_table(validation),
        _service_table(validation),
        _around_table(validation),
        _setting_table(validation),
        machine_table(validation.machine),
        others_table(validation.others),
    ]


def _agreement_table(validation: Validation) -> Table:
    headings = (
        "run", "requests", "attained, real", "simulated", "single replays", "apart", "accuracy, real", "simulated",
        "single replays", "apart", "",
    )  # fmt: skip
    note = (
        f"Points. Attained: answered within the budget from the scheduled moment on. Accuracy: mean over those. "
        f"Simulated: mean of {validation.setting.replays} replays. Accepted: at most {100 * ATTAINMENT_APART:g} and "
        f"{100 * ACCURACY_APART:g} apart. A run is invalid when a request was lost, or when the loader's p99 lag is "
        f"above {LAG_SHARE:.0%} of the smallest budget."
    )
    return Table("Real and simulated", headings, [_agreement_row(one) for one in validation.comparisons], note)


def _agreement_row(one: Comparison) -> list[str]:
    verdict = "accepted" if one.accepted else "not accepted" if one.valid else "invalid"
    return [
        one.run, str(one.requests), _percent(one.real.attainment), _percent(one.simulated.attainment),
        _range(one.attainment_range), _apart(one.attainment_apart), _percent(one.real.accuracy),
        _percent(one.simulated.accuracy), _range(one.accuracy_range), _apart(one.accuracy_apart), verdict,
    ]  # fmt: skip


def _what_happened_table(validation: Validation) -> Table:
    headings = (
        "run", "side", "attained for the server", "unanswered", "after making room", "answered by", "loader lag p99",
        "loader CPU",
    )  # fmt: skip
    rows = [row for one in validation.comparisons for row in _happened_rows(one, validation.client_cpu)]
    note = (
        "For the server: by its own verdict, from the first byte to the answer handed over. The clients of the "
        f"recordings took {validation.client_cpu['recording']:.1%} of a core. Lag in milliseconds."
    )
    return Table("What happened", headings, rows, note)


def _happened_rows(one: Comparison, cpu: dict[str, float]) -> list[list[str]]:
    sides = (
        ("real", one.real, [ms(one.lag_p99_s * 1e3), f"{cpu[one.run]:.1%}"]),
        ("simulated", one.simulated, ["", ""]),
    )
    return [
        [
            one.run, side, _percent(figures.attainment_for_server), _percent(figures.unanswered),
            _percent(figures.terminated),
            ", ".join(f"{name} {share:.1%}" for name, share in figures.variants.items() if share), *loader,
        ]
        for side, figures, loader in sides
    ]  # fmt: skip


def _service_table(validation: Validation) -> Table:
    headings = ("", "runs, one lane busy", "mean", "runs, all busy", "mean", "mean in the runs", "÷ all busy")
    note = "Decoding and inference, milliseconds, as the lanes report them."
    return Table("Service times", headings, [_service_row(one) for one in validation.service], note)


def _service_row(one: Service) -> list[str]:
    slower = NONE if one.in_runs_ms is None or one.together_ms is None else f"{one.in_runs_ms / one.together_ms:.3f}"
    return [
        one.variant, str(one.runs_alone), _or_none(one.alone_ms), str(one.runs_together), _or_none(one.together_ms),
        _or_none(one.in_runs_ms), slower,
    ]  # fmt: skip


def _around_table(validation: Validation) -> Table:
    headings = ("", "recorded p50", "p95", "p99", "in the runs p50", "p95", "p99")
    note = (
        "Milliseconds, all lanes busy in the recording. receive: first byte to admission. dispatch: what a lane waits "
        "between two runs, mean of each recording. arrival: what a run takes longer for each request that comes "
        "meanwhile, likewise. respond: to the answer; recorded, without what is in dispatch. "
        "outside: what clients wait beyond the server's total, less the loader's lag. "
        f"A terminated run stops after {ms(validation.stop_ms)}."
    )
    return Table("Around a run", headings, [_around_row(one) for one in validation.around], note)


def _around_row(one: Around) -> list[str]:
    return [one.part, *_spread(one.recorded), *([NONE] * 3 if one.in_runs is None else _spread(one.in_runs))]


def _setting_table(validation: Validation) -> Table:
    setting = validation.setting
    rows = [
        ("variants", ", ".join(setting.variants)),
        ("lanes", str(setting.lanes)),
        ("load of the cheapest variant alone", f"{setting.load:g}"),
        ("budgets (ms:weight)", setting.budgets),
        ("protocol", setting.protocol),
        ("clients", f"{'real-time' if validation.punctual else 'usual'} priority, on the same cores"),
        ("seconds of a run", f"{setting.seconds:g}, after {setting.warm_up_s:g} of warm-up"),
        ("seconds of recording", f"{setting.record_s:g}"),
        ("seed", str(setting.seed)),
    ]
    return Table("Setting", ("", ""), rows)


def _spread(spread: Spread) -> list[str]:
    return [ms(spread.median), ms(spread.p95), ms(spread.p99)]


def _or_none(value: float | None) -> str:
    return NONE if value is None else ms(value)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _range(pair: tuple[float, float]) -> str:
    return f"{_percent(pair[0])} to {_percent(pair[1])}"


def _apart(share: float) -> str:
    # Adding zero turns −0.0 into 0.0.
    return f"{round(100 * share, 2) + 0.0:+.2f}".replace("-", "−")
