"""What the pictures have in common: ink, colours of policies and variants, plain axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, GRID = "#222222", "#6e6e6e", "#e4e4e4"
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#c9b800",
)  # fmt: skip
"""Okabe & Ito's colours; the yellow is darker, so that it shows on white."""
MISSED = VERMILION

POLICIES = {
    "k1": ("K1", "*", BLUE),
    "p2": ("P2, insured", "P", BLUE),
    "p3": ("P3, cascade", "D", BLUE),
    "k1-no-termination": ("K1 without termination", "*", SKY),
    "k1-uninsured": ("K1 without insurance", "H", SKY),
    "static-cheapest": ("cheapest alone", "v", INK),
    "static": ("static, tuned", "s", GREY),
    "clipper": ("Clipper", "X", GREY),
    "infaas-tightest": ("INFaaS, tightest", "v", VERMILION),
    "infaas-accurate": ("INFaaS, accurate", "P", VERMILION),
    "model-switching": ("Model-Switching", "o", ORANGE),
    "jellyfish": ("Jellyfish", "^", GREEN),
    "greedy": ("greedy", "<", PURPLE),
    "ramsis-conservative": ("RAMSIS, conservative", ">", ORANGE),
    "ramsis-mdp": ("RAMSIS, MDP", "p", VERMILION),
    "slackfit": ("SlackFit", "d", PURPLE),
    "proteus": ("Proteus", "s", YELLOW),
    "elastico": ("Elastico", "o", GREEN),
}
"""Policy → (what it is called, shape, colour). Another is shown by its own name. Those of one colour, or of two nearly
alike, have shapes of different kinds: at this size a hexagon might as well be a disc."""
OTHER = ("o", INK)
TRACES = {
    "poisson": "Poisson",
    "gamma4": "Gamma, CV² 4",
    "gamma8": "Gamma, CV² 8",
    "step": "step, 0.5x then 3x",
    "ramp": "ramp, 0.25x to 1.75x",
}


def policy(name: str) -> tuple[str, str, str]:
    """What it is called, its shape and its colour."""
    return POLICIES.get(name, (name, *OTHER))


def trace(name: str) -> str:
    """What it is called."""
    return TRACES.get(name, name.replace("_", " "))


def variant_colours(count: int) -> list[str]:
    """From light to dark with accuracy: an order that is also one of brightness."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = colormaps["YlGnBu"]
    return [to_hex(shades(0.18 + 0.77 * number / max(count - 1, 1))) for number in range(count)]


def figure(width: float, height: float) -> "Figure":
    """White, laid out so that nothing overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white", layout="constrained")


def plain(axes: "Axes", *, grid: Literal["both", "y"] = "both") -> None:
    """Light grid behind the data, no box."""
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8.5)


def headline(drawn: "Figure", text: str, axes: "Sequence[Axes]" = ()) -> None:
    """What the picture says, at its head; names of the panels smaller."""
    drawn.suptitle(text, x=0.01, ha="left", fontsize=12, color=INK)
    for one in axes:
        one.title.set_fontsize(10)
