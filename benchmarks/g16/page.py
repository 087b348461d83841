"""The study's tables, for the terminal and for `docs/g16.md`.

What was published stands beside what was measured here; whether they agree is said by whoever has read both.
"""

from dataclasses import dataclass

from benchmarks.g16.study import Accuracy, Arm, Latency, Setting, Step, Study, Throughput
from benchmarks.report import Table, machine_table, ms, others_table
from benchmarks.stats import Spread
from service.evaluation.results import Share

NETWORK_NAMES = {"b0": "G1, batch norm", "b0-g16-gn": "G16, four-group norm", "b0-g16": "G16, Proxy Norm"}


@dataclass(frozen=True, slots=True)
class Published:
    """Of one arm at B0, on ImageNet-1k and 16 IPUs."""

    top1: float
    images_per_s: int


PUBLISHED = {
    Arm("b0", "native"): Published(0.7910, 26_350),
    Arm("b0-g16-gn", "native"): Published(0.7908, 29_550),
    Arm("b0-g16-gn", "reduced"): Published(0.7785, 47_230),
    Arm("b0-g16", "native"): Published(0.7942, 24_780),
    Arm("b0-g16", "reduced"): Published(0.7831, 43_230),
}
"""Masters et al., arXiv 2106.03640, read off the figure on its first page. Their G1 has four-group norm, not batch
norm; their reduced resolution is 160 pixels in place of 224."""
PUBLISHED_TRAINING, PUBLISHED_INFERENCE = 7.0, 3.6
"""Times as fast to train to equal accuracy (at B5, by the same authors), and to run (by their company's blog), on an
IPU."""


def tables(study: Study) -> list[Table]:
    """In the order they are shown."""
    return [
        _accuracy_table(study),
        _training_table(study),
        _steps_table(study.steps),
        _latency_table(study.latency),
        _published_table(study),
        _setting_table(study.setting),
        machine_table(study.machine),
        others_table(study.others),
    ]


def _accuracy_table(study: Study) -> Table:
    first, setting = study.accuracy[0], study.setting
    headings = ("", "trained at", "top-1", "95 %", "seeds", "against the first", "95 %")
    note = (
        f"{first.images:,} images of {setting.classes} classes that none was trained on, through the path that serves, "
        f"at {setting.size_px} pixels. Mean over {_counted(len(setting.seeds), 'seed')}; the interval (Wilson) is of "
        "the images alone. Differences are paired, image by image, in points."
    )
    return Table("Accuracy", headings, [_accuracy_row(one, study) for one in study.accuracy], note)


def _accuracy_row(one: Accuracy, study: Study) -> list[str]:
    spread = "" if len(study.setting.seeds) == 1 else f"{one.least:.1%} to {one.most:.1%}"
    compared = ["", ""] if one.arm == study.accuracy[0].arm else [_points(one.difference.value), _interval(one)]
    return [
        _name(one.arm.network), _sizes(one.arm, study.setting), f"{one.top1.value:.1%}", _share(one.top1), spread,
        *compared,
    ]  # fmt: skip


def _training_table(study: Study) -> Table:
    headings = ("", "trained at", "images/s", "p5 to p95", "times the first", "p5 to p95", "published")
    setting = study.setting
    note = (
        f"A whole run of {setting.epochs} + {setting.fine_tune_epochs} epochs by the times of its steps, "
        f"{_counted(setting.threads, 'thread')}, images ready in memory; steps of all kinds in turns, the ratio round "
        "by round. Published: on 16 IPUs, at 224 and 160 pixels, against four-group norm."
    )
    return Table("Training", headings, [_training_row(one, study) for one in study.throughput], note)


def _training_row(one: Throughput, study: Study) -> list[str]:
    published = PUBLISHED.get(one.arm)
    first = PUBLISHED.get(study.throughput[0].arm)
    times = "" if published is None or first is None else f"{published.images_per_s / first.images_per_s:.2f}"
    return [
        _name(one.arm.network), _sizes(one.arm, study.setting), f"{one.images_per_s.median:.1f}",
        _range(one.images_per_s, 1), f"{one.ratio.median:.2f}", _range(one.ratio, 2), times,
    ]  # fmt: skip


def _steps_table(steps: tuple[Step, ...]) -> Table:
    headings = ("", "phase", "px", "rounds", "images/s", "p5 to p95")
    rows = [
        (
            _name(one.network), one.phase, str(one.size_px), str(one.images_per_s.runs),
            f"{one.images_per_s.median:.1f}", _range(one.images_per_s, 1),
        )
        for one in steps
    ]  # fmt: skip
    return Table("Steps of training", headings, rows, "Fine-tuning changes the last layers alone, hence its speed.")


def _latency_table(latencies: tuple[Latency, ...]) -> Table:
    headings = ("", "px", "GMACs", "M params", "runs", "min", "median", "p5 to p95", "times the first", "p5 to p95")
    rows = [
        (
            _name(one.network), str(one.size_px), f"{one.gmacs:.3f}", f"{one.params / 1e6:.2f}",
            str(one.latency_ms.runs), ms(one.latency_ms.least), ms(one.latency_ms.median), _range(one.latency_ms, 1),
            f"{one.ratio.median:.2f}", _range(one.ratio, 2),
        )
        for one in latencies
    ]  # fmt: skip
    note = "ONNX Runtime, one image, one thread, milliseconds; networks in turns, the ratio round by round."
    return Table("Latency", headings, rows, note)


def _published_table(study: Study) -> Table:
    note = (
        "Published: Masters et al., arXiv 2106.03640, on IPUs, against a B0 of four-group norm, where the first here "
        "has batch norm. Their 7 is of training to the accuracy of an EfficientNet-B5, for which a smaller G16 network "
        "is enough; 3.6 is from Graphcore's blog, without a table; their accuracies are of ImageNet-1k."
    )
    rows = [*_published_speeds(study), *_published_accuracies(study)]
    return Table("Beside what was published", ("", "published", "here"), rows, note)


def _published_speeds(study: Study) -> list[tuple[str, str, str]]:
    ours = study.setting.networks[-1]
    fast = next(one for one in study.throughput if one.arm == Arm(ours, "reduced"))
    training = f"times as fast to train: {_name(ours)}, reduced, against the first"
    rows = [(training, f"{PUBLISHED_TRAINING:g}, to equal accuracy at B5", f"{fast.ratio.median:.2f}")]
    for one in study.latency:
        if one.network == ours:
            what = f"times as fast to run: {_name(ours)} at {one.size_px} pixels"
            rows.append((what, f"{PUBLISHED_INFERENCE:g}", f"{1 / one.ratio.median:.2f}"))
    return rows


def _published_accuracies(study: Study) -> list[tuple[str, str, str]]:
    """Points of top-1 against the first arm."""
    first = PUBLISHED.get(study.accuracy[0].arm)
    rows = []
    for one in study.accuracy[1:]:
        published = PUBLISHED.get(one.arm)
        if first is not None and published is not None:
            here = f"{_points(one.difference.value)} ({_interval(one)})"
            what = f"points of top-1: {_name(one.arm.network)}, {one.arm.regime}, against the first"
            rows.append((what, _points(published.top1 - first.top1), here))
    return rows


def _setting_table(setting: Setting) -> Table:
    recipe = ", ".join(f"{name} {value}" for name, value in setting.recipe.items() if value is not None)
    rows = [
        ("trained on", f"{setting.data}: {setting.images:,} images (SHA-256 `{setting.data_sha256[:16]}…`)"),
        ("validated on", f"{setting.validation}: {setting.validation_images:,} images"),
        ("epochs", f"{setting.epochs}, and {setting.fine_tune_epochs} of fine-tuning"),
        ("seeds", ", ".join(map(str, setting.seeds))),
        ("torch", f"{setting.torch}, {_counted(setting.threads, 'thread')}, {setting.device}"),
        ("recipe", recipe),
    ]
    return Table("Recipe of all arms", ("", ""), rows)


def _name(network: str) -> str:
    return NETWORK_NAMES.get(network, network)


def _sizes(arm: Arm, setting: Setting) -> str:
    return str(setting.size_px) if arm.regime == "native" else f"{setting.reduced_px}, then {setting.size_px}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _share(share: Share) -> str:
    return f"{share.low:.1%} to {share.high:.1%}"


def _points(value: float) -> str:
    # Adding zero turns −0.0 into 0.0.
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", "−")


def _interval(one: Accuracy) -> str:
    return f"{_points(one.difference.low)} to {_points(one.difference.high)}"


def _range(spread: Spread, digits: int) -> str:
    return f"{spread.p5:.{digits}f} to {spread.p95:.{digits}f}"
