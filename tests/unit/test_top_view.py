"""How the picture looks at some sizes: what is shown, what is left out, that nothing is wider or longer."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from service.commands.top_view import Frame, bar, duration, ms, percent, view
from service.telemetry.picture import BudgetLine, LaneLine, Picture, VariantLine

OUTCOMES = {"met": 987.0, "missed": 12.0, "shed": 1.0}
BUDGETS = tuple(BudgetLine(name, OUTCOMES) for name in ("20ms", "50ms", "100ms", "200ms", "500ms", "longer"))
BUSY = LaneLine(lanes=16, busy=16, utilisation=1.0)


def variant(name: str, **other: object) -> VariantLine:
    """One that answers 40 times a second."""
    line = VariantLine(name, 0.771, True, True, 0.0161, 0.0273, 40.0, 0.5, 0.0204, 0.1234)
    return replace(line, **other)  # type: ignore[arg-type]


EIGHT = tuple(variant(f"b{level}") for level in range(8))
PICTURE = Picture(
    version="0.1.0", over_s=10.0, since_start=False, arrivals_per_s=410.0, answers_per_s=400.1, top1=0.702,
    lost_top1=0.008, slowdown=1.04, waiting=3, insured=1, backlog_s=0.041, wasted=0.02, foreground=BUSY,
    background=BUSY, variants=EIGHT, budgets=BUDGETS, failures={"queue-full": 6.0, "cancelled": 2.0}, refused=0,
)  # fmt: skip
FRAME = Frame("http://localhost:8000", "ready", PICTURE, up_s=7500.0)


def drawn(frame: Frame = FRAME, width: int = 80, height: int = 24, keys: str = "q quits") -> list[str]:
    """The lines on the terminal."""
    terminal = io.StringIO()
    shown = view(frame, width=width, height=height, keys=keys)
    Console(file=terminal, width=width, height=height).print(shown, highlight=False)
    return terminal.getvalue().splitlines()


def showing(**changed: object) -> Frame:
    """The frame with something else in its picture."""
    return replace(FRAME, picture=replace(PICTURE, **changed))  # type: ignore[arg-type]


def test_everything_fits_the_smallest_usual_terminal() -> None:
    """Eight variants, six classes of budgets, failures; nothing is cut off."""
    lines = drawn()
    assert len(lines) <= 24
    assert not [line for line in lines if "…" in line or len(line.rstrip()) > 80]
    for word in ("b7", "longer", "queue-full 6, cancelled 2", "q quits"):
        assert any(word in line for line in lines), word


def test_the_head_says_who_how_and_of_when() -> None:
    """And the first three lines are the service as a whole."""
    head, *summary = (line.rstrip() for line in drawn()[:4])
    assert head == "effserve 0.1.0  http://localhost:8000  ready, up 2 h  over the last 10 s"
    assert summary == [
        "410.0 arrivals/s  400.1 answers/s  98.7% met  top-1 70.2%, 0.8 lost to load",
        "lanes ██████████ 100.0% of 16, 16 busy  background ██████████ 100.0% of 16",
        "queue 3 waiting, 1 in hand, 41.0 ms of work  slow-down 1.04  wasted 2.0%",
    ]


def test_a_variant_is_a_line() -> None:
    """What it is worth, what it costs, what it did."""
    (line,) = (line for line in drawn() if line.startswith("b3 "))
    assert line.split() == ["b3", "77.1%", "16.1", "27.3", "40.0", "50.0%", "20.4", "123", "routed"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 40), (200, 50), (60, 14), (40, 10)])
@pytest.mark.parametrize("count", [1, 8, 40])
def test_nothing_is_wider_than_the_terminal(width: int, height: int, count: int) -> None:
    """At any size; and where there is room for six classes and a variant, nothing is longer either."""
    frame = showing(variants=tuple(variant(f"variant-{n}-with-a-long-name", trained=False) for n in range(count)))
    lines = drawn(frame, width, height)
    assert max(map(len, (line.rstrip() for line in lines))) <= width
    assert len(lines) <= max(height, 19)


def test_what_does_not_fit_is_counted() -> None:
    """Those that answer most are shown, in their old order."""
    lines = [variant(f"v{n}", answers_per_s=float(n % 7 == 0), routed=n % 7 == 0) for n in range(40)]
    text = drawn(showing(variants=tuple(lines)))
    shown = [line.split()[0] for line in text if line.startswith("v") and "top-1" not in line]
    assert shown == ["v0", "v1", "v7", "v14", "v21", "v28", "v35"]
    assert "and 33 more that answered nothing or less" in text


def test_more_room_shows_more() -> None:
    """Bars, then budgets beside variants."""
    narrow, roomy, wide = (drawn(width=width, height=40) for width in (80, 140, 200))
    assert not any("█" in line for line in narrow[4:])
    assert any(line.startswith("b0") and "█████·····" in line for line in roomy)
    assert any(line.startswith("b0") and "20ms" in line for line in wide)


def test_seeded_weights_are_marked_at_any_width() -> None:
    """Where there is room, beside what else is true of the variant."""
    frame = showing(variants=(variant("b0", trained=False), variant("b1", routed=False)))
    assert [line.split()[-1] for line in drawn(frame)[6:8]] == ["untrained", "123"]
    assert drawn(frame, width=140)[6].rstrip().endswith("untrained, routed")


def test_what_nobody_asked_for_is_a_dash() -> None:
    """No figure is invented."""
    idle = variant("b0", answers_per_s=0.0, share=None, p50_s=None, p99_s=None, top1=None)
    none = LaneLine(0, 0, None)
    frame = showing(variants=(idle,), budgets=(), failures={}, top1=None, lost_top1=None, background=none)
    lines = drawn(frame)
    assert lines[1].endswith("– met  top-1 –")
    assert lines[2].endswith("background none")
    assert "no budgets yet" in lines
    assert next(line for line in drawn(frame) if line.startswith("b0")).split() == [
        "b0", "–", "16.1", "27.3", "0.0", "–", "–", "–", "routed",
    ]  # fmt: skip


def test_news_stand_below_the_head() -> None:
    """A restart, a server that is away, store entries that are refused: visible on the lowest terminal."""
    away = replace(FRAME, status="away", up_s=None, notice="no answer for 7 s: there is no connection", away=True)
    assert [line.rstrip() for line in drawn(away, height=10)[:2]] == [
        "effserve 0.1.0  http://localhost:8000  away  over the last 10 s",
        "no answer for 7 s: there is no connection",
    ]
    assert drawn(showing(refused=2))[1].startswith("store entries that are refused: 2; /healthz says why")


def test_before_the_first_picture_there_is_the_reason() -> None:
    """And how to leave."""
    waiting = Frame("http://localhost:8000", "away", None, notice="no answer for 3 s", away=True)
    assert [line.rstrip() for line in drawn(waiting)] == [
        "effserve  http://localhost:8000  away", "no answer for 3 s", "q quits",
    ]  # fmt: skip


def test_text_of_a_server_is_text() -> None:
    """Names of variants come from the store, and may look like markup."""
    assert any("[red]x" in line for line in drawn(showing(variants=(variant("[red]x"),))))


@pytest.mark.parametrize(
    ("share", "expected"), [(0, "····"), (0.5, "██··"), (0.28, "█▏··"), (1, "████"), (1.7, "████"), (-1, "····")]
)
def test_a_bar_is_as_long_as_its_share(share: float, expected: str) -> None:
    """To an eighth of a column; never longer than its place."""
    assert bar(share, 4) == expected


def test_figures_have_the_digits_that_matter() -> None:
    """Tenths of milliseconds below a hundred; the largest unit that fits twice."""
    assert [ms(value) for value in (0.0161, 0.0999, 0.1, 1.2344, None)] == ["16.1", "99.9", "100", "1234", "–"]
    assert [percent(value) for value in (0.5, 1, None)] == ["50.0%", "100.0%", "–"]
    seconds = (0.4, 119, 120, 7199, 7200, 172_799, 172_800)
    assert [duration(value) for value in seconds] == ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]
