"""The command; see the package."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import machine, photos, report
from benchmarks.decode import carriers, effect, page, timing
from benchmarks.decode.effect import Answers
from benchmarks.decode.study import QUICK, Apart, Setting, Study, Timing, write
from benchmarks.machine import Others
from service.pipeline.image import encode_sample

PHONE_PX = (4000, 3000)
"""The largest picture that is made where pixels are compared: it is decoded at a quarter of its scale."""


def _times(bodies: list[bytes], rounds: int) -> list[Timing]:
    found = []
    for carrier, carried in carriers.carried(bodies).items():
        compared = timing.ways() | (timing.parts(carried) if carrier == "JPEG" else {})
        report.say(f"timing {carrier}")
        found += timing.times(carrier, carried, compared, rounds)
    return found


def _apart(bodies: list[bytes]) -> list[Apart]:
    small = [body for body in bodies if not effect.reduced(body, timing.INPUT)]
    large = [body for body in bodies if effect.reduced(body, timing.INPUT)]
    groups = {
        "JPEG, decoded in full": small,
        "JPEG, at a reduced scale": large,
        f"a made JPEG of {PHONE_PX[0]} x {PHONE_PX[1]}": [encode_sample("JPEG", *PHONE_PX)],
        **{name: carried for name, carried in carriers.carried(bodies).items() if name != "JPEG"},
    }
    return [timing.apart(name, group) for name, group in groups.items() if group]


def _answers(store: Path, folder: Path | None, labelled: Path | None, setting: Setting) -> list[Answers]:
    sets = [effect.of_folder(folder)] if folder else []
    sets += effect.of_labelled(labelled, setting.enlarged, setting.labelled) if labelled else []
    found = []
    for one in effect.answers(store, sets):
        report.say(f"{one.effect.variant} on {one.effect.images}")
        found.append(one)
    return found


def main(
    folder: Annotated[Path | None, typer.Option("--photos", help="Folder of JPEGs; default: made pictures.")] = None,
    store: Annotated[Path | None, typer.Option(help="Model store: what its networks' answers change.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Small labelled images, folder or ZIP; needs --store.")] = None,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON).")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Of timing.")] = None,
    most: Annotated[int | None, typer.Option(min=2, help="Of the labelled images.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Shows that it works; the figures mean little.")] = False,
) -> None:
    """Measure what decoding takes and what the quick way changes, and print it."""
    here, others, bodies = machine.describe(), list[Others](), photos.read(folder)
    setting = replace(QUICK if quick else Setting(), photos=len(bodies), made=folder is None)
    setting = replace(setting, rounds=rounds or setting.rounds, labelled=most or setting.labelled)
    with machine.watching("times", others):
        times = _times(bodies, setting.rounds)
    with machine.watching("pixels and answers", others):
        apart = _apart(bodies)
        found = _answers(store, folder, labels, setting) if store else []
    pooled = effect.pooled([one for one in found if one.effect.images != "photos"])
    effects = tuple(one.effect for one in found)
    study = Study(here, tuple(others), setting, tuple(times), tuple(apart), effects, pooled)
    report.show(page.tables(study))
    path = out or report.default_path(here, "decode")
    write(study, path)
    report.say(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
