"""`effserve pack`: a trained file, made a quarter as large, with what that costs measured and written on its card."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from service.commands.build import one_line_errors as one_line_build_errors
from service.commands.console import fail, out
from service.commands.evaluate import Asked, measure
from service.commands.evaluate import one_line_errors as one_line_evaluation_errors
from service.evaluation import record
from service.evaluation.results import Report, Share, VariantResult

if TYPE_CHECKING:
    from model_store.trained import Trained


def pack(file: Path, *, data: Path, folder: Path, dataset: str | None, note: str = "") -> None:
    """Write `<variant>.safetensors` and `<variant>.md`, which opens with `note`, into `folder`."""
    with one_line_build_errors(), one_line_evaluation_errors():
        from model_store import trained

        header = trained.read_header(file)
        if header is None:
            fail(f"{file} was not written by `effserve train`")
        target = folder / f"{header.spec.name}.safetensors"
        _check(file, header, target)
        before, _ = _measured(file, header, data, dataset)
        small, tensors = header.model_copy(update={"packing": "int8"}), trained.packed(trained.read_tensors(file))
        with tempfile.TemporaryDirectory() as place:
            trained.write(Path(place) / target.name, small, tensors)
            after, report = _measured(Path(place) / target.name, small, data, dataset)
        final = small.model_copy(update={"accuracy": record.accuracy(after, report.dataset)})
        folder.mkdir(parents=True, exist_ok=True)
        trained.write(target, final, tensors)
        text = card(final, before, after, report, size_bytes=target.stat().st_size, note=note)
        target.with_suffix(".md").write_text(text, "utf-8")
    loss = 100 * (before.top1.value - after.top1.value)
    out.print(f"{target}: top-1 {after.top1.value:.1%}, {loss:+.2f} points lost to packing", highlight=False)


def _check(file: Path, header: "Trained", target: Path) -> None:
    """What would lose something, or make the card say what is not so."""
    if header.packing != "float32":
        fail(f"{file} is packed already")
    if target.resolve() == file.resolve():
        fail(f"{target} would replace what it is made from; name another folder with --out")


def _measured(file: Path, header: "Trained", data: Path, dataset: str | None) -> tuple[VariantResult, Report]:
    """Accuracy through the path that serves."""
    from model_store.builder.recipes import from_trained
    from model_store.builder.store import add

    with tempfile.TemporaryDirectory() as folder:
        add(from_trained(file, header), Path(folder))
        _, _, report = measure(Asked(data, store=Path(folder), dataset=dataset))
    return report.variants[0], report


def card(
    header: "Trained", before: VariantResult, after: VariantResult, report: Report, *, size_bytes: int, note: str
) -> str:
    """The model card, in Markdown. It says only what is known of any file; what only its maker knows is in `note`."""
    recipe = ", ".join(f"{name} {value}" for name, value in header.recipe.items() if value is not None)
    classes = ", ".join(line.split("\t")[2].split(",")[0] for line in header.labels.splitlines())
    return f"""# {header.spec.name}

{note or f"A classifier of {len(header.labels.splitlines())} classes."}

| | |
| --- | --- |
| classes | {classes} |
| input | {header.preprocessing.input_size_px} x {header.preprocessing.input_size_px} pixels, uint8 RGB |
| trained on | {header.data.name}: {header.data.images:,} images (SHA-256 `{header.data.sha256[:16]}…`) |
| made with | {header.made_with}; {header.hours:g} h; code {header.commit} |
| recipe | {recipe} |
| measured on | {report.dataset}: {after.images} images of {after.classes} classes |
| top-1 | {_share(after.top1)} |
| top-5 | {_share(after.top5) if after.top5 else "not given for five classes or less"} |
| calibration error | {after.ece:.3f}; {after.ece_at_temperature:.3f} at temperature {after.temperature:.2f} |
| stored as | 8-bit integers with a scale per output channel, {size_bytes / 1e6:.1f} MB |
| lost to that | {100 * (before.top1.value - after.top1.value):.2f} points of top-1 (float32: {before.top1.value:.2%}) |
| licence | {header.licence} |

Intervals are Wilson's, 95 %. The accuracy is of the weights in this file, through the path that serves them
(`effserve pack`).
"""


def _share(share: Share) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
