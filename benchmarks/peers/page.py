"""Tables of a comparison, for the terminal and for `docs/performance.md`.

What is compared is compared round by round, and shown as the median of these ratios and their range.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.peers.contenders import BARE, OURS
from benchmarks.peers.study import Compared, Study, Turn
from benchmarks.report import Table, machine_table, ms, others_table

NONE = "–"
DISTURBED = 0.05
"""Share of the cores' time for other processes, above which the tables say so."""
MANY = (4, 8)
"""Clients at which throughput has a goal."""
THROUGHPUT, OF_BARE, P50, P99 = 1.15, 0.93, 1.0, 1.2


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of two contenders, or of two figures of one, in each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Over the rounds."""
        return median(self.rounds)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.rounds):.2f} to {max(self.rounds):.2f})"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached, and what was."""

    what: str
    between: str
    reached: Ratio
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        """By the median."""
        return self.reached.median >= self.limit if self.at_least else self.reached.median <= self.limit


def tables(study: Study) -> list[Table]:
    """In the order they are shown."""
    return [
        _throughput_table(study),
        _latency_table(study),
        _beside_table(study),
        _goals_table(study),
        _compared_table(study),
        _setting_table(study),
        machine_table(study.machine),
        others_table(study.others),
    ]


def goals(study: Study) -> Iterator[Goal]:
    """Those that were measured: all of them, when the bare loop, the service and a peer took part."""
    for clients in study.setting.clients:
        ours, theirs = _best(study, clients, [OURS]), _best(study, clients, _peers(study))
        bare = BARE if _names(study, [BARE]) else None
        if ours is not None and theirs is not None and clients in MANY:
            ratio = _per_s(study, clients, ours, theirs)
            yield Goal(f"answers a second, {clients} clients", f"{ours} ÷ {theirs}", ratio, THROUGHPUT, True)
        if ours is not None and bare is not None and clients in MANY:
            ratio = _per_s(study, clients, ours, bare)
            yield Goal(f"answers a second, {clients} clients", f"{ours} ÷ {bare}", ratio, OF_BARE, True)
        if clients == 1:
            yield from _latency_goals(study)


def _latency_goals(study: Study) -> Iterator[Goal]:
    ours, theirs = _quickest(study, [OURS]), _quickest(study, _peers(study))
    if ours is not None and theirs is not None:
        ratio = _ratio(_p50(study, ours), _p50(study, theirs))
        yield Goal("p50, 1 client", f"{ours} ÷ {theirs}", ratio, P50, False)
    if ours is not None:
        tails = [turn.p99_ms for turn in _turns(study, ours, 1)]
        yield Goal("p99 ÷ p50, 1 client", ours, _ratio(tails, _p50(study, ours)), P99, False)


def _peers(study: Study) -> list[str]:
    return [one.server for one in study.compared if one.server not in (OURS, BARE)]


def _names(study: Study, servers: Iterable[str]) -> list[str]:
    wanted = set(servers)
    return [one.name for one in study.compared if one.server in wanted]


def _best(study: Study, clients: int, servers: Iterable[str]) -> str | None:
    """The configuration with the highest throughput, by the median of the rounds."""
    return max(
        _names(study, servers), key=lambda name: median(one.per_s for one in _turns(study, name, clients)), default=None
    )


def _quickest(study: Study, servers: Iterable[str]) -> str | None:
    return min(_names(study, servers), key=lambda name: median(_p50(study, name)), default=None)


def _p50(study: Study, name: str) -> list[float]:
    return [turn.p50_ms for turn in _turns(study, name, 1)]


def _turns(study: Study, name: str, clients: int) -> list[Turn]:
    """By round."""
    return sorted((t for t in study.turns if (t.name, t.clients) == (name, clients)), key=lambda turn: turn.number)


def _per_s(study: Study, clients: int, one: str, other: str) -> Ratio:
    return _ratio(*([turn.per_s for turn in _turns(study, name, clients)] for name in (one, other)))


def _ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    return Ratio(tuple(a / b if b else float("inf") for a, b in zip(above, below, strict=True)))


def _throughput_table(study: Study) -> Table:
    clients = study.setting.clients
    rows = [
        [
            *_called(one),
            *(_spread([t.per_s for t in _turns(study, one.name, many)]) for many in clients),
            _errors(study, one),
        ]
        for one in study.compared
    ]
    headings = ("", "configuration", *(_clients(many) for many in clients), "errors")
    note = (
        f"Right answers a second: median and range of {study.setting.rounds} rounds. A class that the same work does "
        f"not give outside of a server is an error.{_disturbance(study)}"
    )
    return Table("Throughput", headings, rows, note)


def _latency_table(study: Study) -> Table:
    found = {(one.name, one.clients): one.ms for one in study.latencies}
    rows = []
    for one in study.compared:
        spreads = [found.get((one.name, many)) for many in study.setting.clients]
        cells = [(NONE, NONE) if of is None else (ms(of.median), ms(of.p99)) for of in spreads]
        rows.append([*_called(one), *(cell for pair in cells for cell in pair)])
    headings = ("", "configuration", *(f"{_clients(m)}, {p}" for m in study.setting.clients for p in ("p50", "p99")))
    note = (
        "Milliseconds from the first byte sent to the last received, by the clients, all rounds together; of the bare "
        f"loop those of one run.{_disturbance(study)}"
    )
    return Table("Latency", headings, rows, note)


def _beside_table(study: Study) -> Table:
    clients = study.setting.clients
    ours = {many: _best(study, many, [OURS]) for many in clients}
    rows = [
        [*_called(one), *(_beside(study, ours[many], one, many) for many in clients)]
        for one in study.compared
        if one.server != OURS
    ]
    headings = ("", "configuration", *(f"{_clients(many)}: {ours[many] or NONE} ÷ it" for many in clients))
    return Table("Throughput of the service beside each", headings, rows, f"Of the same rounds.{_disturbance(study)}")


def _beside(study: Study, ours: str | None, other: Compared, clients: int) -> str:
    return NONE if ours is None else str(_per_s(study, clients, ours, other.name))


def _goals_table(study: Study) -> Table:
    rows = [
        [
            goal.what, goal.between, str(goal.reached), f"{'≥' if goal.at_least else '≤'} {goal.limit:g}",
            "reached" if goal.met else "missed",
        ]
        for goal in goals(study)
    ]  # fmt: skip
    note = f"Of each server the best of its configurations, by the median.{_disturbance(study)}"
    return Table("Goals", ("", "", "median (range)", "goal", ""), rows, note)


def _compared_table(study: Study) -> Table:
    titles = {one.title: one.version for one in study.compared if one.server != BARE}
    rows = [
        *((title, version, "compared") for title, version in titles.items()),
        *((one.title, "", f"left out: {one.reason}") for one in study.left_out),
    ]
    return Table("Who was compared", ("", "version", ""), rows)


def _setting_table(study: Study) -> Table:
    setting = study.setting
    rows = [
        ("photos", f"{study.photos}, {study.photo_bytes / 1e3:.0f} kB on average"),
        ("rounds", str(setting.rounds)),
        ("seconds of a turn", f"{setting.seconds:g}, after {setting.warm_up_s:g} of warm-up"),
        ("seconds of requests that do not count, after standing still", f"{setting.settle_s:g}"),
        ("cores taken by the clients, at most", f"{max((turn.loader for turn in study.turns), default=0.0):.2f}"),
        (
            "share of other processes in the worst turn",
            f"{max((turn.others for turn in study.turns), default=0.0):.0%}",
        ),
        ("seed", str(setting.seed)),
    ]
    return Table("Setting", ("", ""), rows)


def _called(one: Compared) -> tuple[str, str]:
    return one.name, one.what


def _clients(many: int) -> str:
    return "1 client" if many == 1 else f"{many} clients"


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else NONE


def _errors(study: Study, one: Compared) -> str:
    counted: dict[str, int] = {}
    for turn in study.turns:
        if turn.name == one.name:
            for what, many in turn.errors.items():
                counted[what] = counted.get(what, 0) + many
    return ", ".join(f"{many} × {what}" for what, many in counted.items()) or "0"


def _disturbance(study: Study) -> str:
    """A sentence where it was one."""
    share = max((one.share for one in study.others), default=0.0)
    if share <= DISTURBED:
        return ""
    return f" **Disturbed: other processes had {share:.0%} of the cores meanwhile, so these figures say nothing.**"
