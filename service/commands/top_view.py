"""How `effserve top` looks: the operator's picture for a terminal of some size. Knows nothing of servers.

It fits 80 × 24. Wider terminals show more: bars from `ROOMY` columns on, and from `WIDE` on budgets beside variants.
Where a terminal is too low for all variants, those that answered most are shown, and how many are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from service.telemetry.picture import BudgetLine, LaneLine, Picture, VariantLine

ROOMY, WIDE = 100, 176
"""Columns of the terminal."""
BAR = 10
"""Columns of a bar."""
EIGHTHS = " ▏▎▍▌▋▊▉"
BAD_OUTCOMES = ("missed", "unattainable", "shed", "infeasible", "failed")
NONE = "–"


@dataclass(frozen=True, slots=True)
class Frame:
    """What is shown at a time."""

    url: str
    status: str
    """Of the service, in a word."""
    picture: Picture | None
    """The last that there was."""
    up_s: float | None = None
    notice: str = ""
    """What the operator must know about this very picture."""
    away: bool = False
    """Whether it is an old one, because the server does not answer."""


def view(frame: Frame, *, width: int, height: int, keys: str = "") -> RenderableType:
    """The frame for a terminal of that size; `keys` says what can be pressed."""
    head = [_title(frame), *_notices(frame)]
    foot = [Text(keys, style="dim")] if keys else []
    if frame.picture is None:
        return Group(*head, *foot)
    summary = _summary(frame.picture)
    tables = _tables(frame.picture, width, height - len(head) - len(summary) - len(foot) - 1)
    shown = Group(*summary, Text(), *tables)
    return Group(*head, Styled(shown, "dim" if frame.away else ""), *foot)


def _title(frame: Frame) -> Text:
    version = "" if frame.picture is None else f" {frame.picture.version}"
    good = {"ready": "bold green", "draining": "bold yellow"}.get(frame.status, "bold red")
    told: list[str | tuple[str, str]] = [("effserve" + version, "bold"), "  ", frame.url, "  ", (frame.status, good)]
    if frame.up_s is not None:
        told.append(f", up {duration(frame.up_s)}")
    if frame.picture is not None:
        told.append((f"  {_span(frame.picture)}", "dim"))
    return Text.assemble(*told, no_wrap=True, overflow="ellipsis")


def _notices(frame: Frame) -> list[Text]:
    refused = 0 if frame.picture is None else frame.picture.refused
    notices = {
        frame.notice: "bold red" if frame.away else "yellow",
        f"store entries that are refused: {refused}; /healthz says why" if refused else "": "yellow",
    }
    return [Text(text, style=style, no_wrap=True, overflow="ellipsis") for text, style in notices.items() if text]


def _span(picture: Picture) -> str:
    return "since the start" if picture.since_start else f"over the last {duration(picture.over_s)}"


def _summary(picture: Picture) -> list[Text]:
    """Three lines: what comes and what becomes of it, the lanes, and what waits for them."""
    met = _share_met(picture.budgets)
    lost = "" if picture.lost_top1 is None else f", {picture.lost_top1 * 100:.1f} lost to load"
    lines = [
        f"{picture.arrivals_per_s:.1f} arrivals/s  {picture.answers_per_s:.1f} answers/s  "
        f"[{_judged(met)}]{percent(met)} met[/]  top-1 {percent(picture.top1)}{lost}",
        f"lanes {_lanes(picture.foreground)}, {picture.foreground.busy} busy  background {_lanes(picture.background)}",
        f"queue {picture.waiting} waiting, {picture.insured} in hand, {ms(picture.backlog_s)} ms of work"
        f"  slow-down {picture.slowdown:.2f}  wasted {percent(picture.wasted)}",
    ]
    rendered = map(Text.from_markup, lines)
    return [Text("", no_wrap=True, overflow="ellipsis").append_text(line) for line in rendered]


def _lanes(line: LaneLine) -> str:
    if line.utilisation is None:
        return "none"
    return f"{bar(line.utilisation)} {percent(line.utilisation)} of {line.lanes}"


def _tables(picture: Picture, width: int, height: int) -> list[RenderableType]:
    budgets, failures = _budgets(picture.budgets), _failures(picture)
    if width >= WIDE:
        both = Table.grid(padding=(0, 4))
        both.add_row(_variants(picture.variants, height - len(failures) - 1, roomy=True), budgets)
        return [both, *failures]
    room = height - len(failures) - len(picture.budgets) - 3
    return [_variants(picture.variants, room, roomy=width >= ROOMY), Text(), budgets, *failures]


def _variants(lines: Sequence[VariantLine], rows: int, *, roomy: bool) -> RenderableType:
    """A heading and at most `rows` lines, but one at least."""
    shown = _most_important(lines, max(rows if rows >= len(lines) else rows - 1, 1))
    table = _table("variant", "top-1", "mean ms", "tail ms", "answers/s", "share", "p50 ms", "p99 ms")
    table.add_column("", no_wrap=True)
    for line in shown:
        cells = [
            escape(line.name), percent(line.top1), ms(line.expected_s), ms(line.tail_s), f"{line.answers_per_s:.1f}",
            _share(line.share, roomy=roomy), ms(line.p50_s), ms(line.p99_s), _state(line, roomy=roomy),
        ]  # fmt: skip
        table.add_row(*cells, style="" if line.routed or line.answers_per_s else "dim")
    left_out = len(lines) - len(shown)
    return Group(table, Text(f"and {left_out} more that answered nothing or less", style="dim")) if left_out else table


def _most_important(lines: Sequence[VariantLine], rows: int) -> list[VariantLine]:
    """Those that answered most, then those that can be chosen; in their old order."""
    best = sorted(lines, key=lambda line: (line.answers_per_s, line.routed), reverse=True)[:rows]
    return [line for line in lines if line in best]


def _share(share: float | None, *, roomy: bool) -> str:
    return percent(share) if not roomy or share is None else f"{bar(share)} {percent(share):>6}"


def _state(line: VariantLine, *, roomy: bool) -> str:
    """Where there is little room, the warning; what is not routed is dim besides."""
    states = [name for name, holds in (("untrained", not line.trained), ("routed", line.routed)) if holds]
    return ", ".join(states if roomy else states[:1])


def _budgets(lines: Sequence[BudgetLine]) -> RenderableType:
    if not lines:
        return Text("no budgets yet", style="dim")
    table = _table("budget", "share met", "met", *BAD_OUTCOMES)
    for line in lines:
        counts = [f"{line.outcomes.get(outcome, 0.0):.0f}" for outcome in ("met", *BAD_OUTCOMES)]
        met = _share_met([line])
        table.add_row(line.budget, f"[{_judged(met)}]{percent(met)}[/]", *counts)
    return table


def _failures(picture: Picture) -> list[Text]:
    if not picture.failures:
        return []
    most = sorted(picture.failures.items(), key=lambda item: -item[1])
    told = ", ".join(f"{kind} {count:.0f}" for kind, count in most)
    return [Text(f"failures  {told}", no_wrap=True, overflow="ellipsis")]


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True, max_width=16, overflow="ellipsis")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _share_met(lines: Sequence[BudgetLine]) -> float | None:
    total = sum(line.total for line in lines)
    return sum(line.outcomes.get("met", 0.0) for line in lines) / total if total else None


def _judged(met: float | None) -> str:
    """The colour of a share of budgets that were met."""
    if met is None:
        return "dim"
    return "green" if met >= 0.99 else "yellow" if met >= 0.95 else "red"


def bar(share: float, width: int = BAR) -> str:
    """A share of 1 as a bar of that many columns, to an eighth of a column."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (EIGHTHS[rest] if rest else "")
    return drawn.ljust(width, "·")


def percent(share: float | None) -> str:
    """Of a share of 1."""
    return NONE if share is None else f"{share * 100:.1f}%"


def ms(seconds: float | None) -> str:
    """Milliseconds, as many digits as matter."""
    if seconds is None:
        return NONE
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def duration(seconds: float) -> str:
    """In the largest unit that leaves a whole number of at least 2, or in seconds."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
