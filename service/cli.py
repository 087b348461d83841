"""The command line.

`effserve serve | build | train | pack | pull | import | evaluate | quantize | simulate | report | variants | top |
reload | classify | plan`; the last five ask a running server.

Thin: each command turns its options into settings or arguments and calls one function. What builds graphs needs the
`build` extra, so it is imported only by the commands that use it.
"""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service import __version__
from service.client.asking import ClassifyOptions
from service.commands import client
from service.commands.console import CommandError, err, fail, starting

app = typer.Typer(
    name="effserve",
    help="Answers every image with the most accurate EfficientNet that the request's latency budget can buy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

LEAST_LOAD, MOST_LOAD = 0.001, 100
DEFAULT_URL = "http://localhost:8000"
Url = Annotated[
    str,
    typer.Option(
        help="Where the server listens: http://… or grpc://…, with TLS https or grpcs.", envvar="EFFSERVE_URL"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Store = Annotated[Path | None, typer.Option(help="Model store folder. Default: see `docs/settings.md`.")]


def _budget(value: float | None) -> float | None:
    """A range of the option could neither leave out 0 nor name what is no number; the most is the server's to say."""
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value:g} is not a number of milliseconds above 0")
    return value


def _load(value: float | None) -> float | None:
    """Likewise, with both ends."""
    if value is not None and not LEAST_LOAD <= value <= MOST_LOAD:
        raise typer.BadParameter(f"{value:g} is not a number from {LEAST_LOAD:g} to {MOST_LOAD:g}")
    return value


Budget = Annotated[
    float | None, typer.Option("--budget-ms", help="Latency budget in milliseconds, above 0.", callback=_budget)
]
Named = Annotated[str | None, typer.Option("--variant", help="Use exactly this variant.")]
MinAccuracy = Annotated[float | None, typer.Option(help="The cheapest variant with at least this top-1, e.g. 0.8.")]
ModeOption = Annotated[str | None, typer.Option("--mode", help="`best_effort` answers late, `strict` refuses.")]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="`k1` spends the budget on one run, `p2` on the cheapest variant first, then on better ones, `p3` on "
        "better ones only for the least confident answers.",
    ),
]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, both protocols.")] = None,
    http_port: Annotated[int | None, typer.Option(help="HTTP port; default 8000.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port; default 9000.")] = None,
    store: Store = None,
    route_untrained: Annotated[
        bool | None,
        typer.Option(
            "--route-untrained/--no-route-untrained",
            help="Let budgets choose seeded weights, ranked by the published accuracy of their architecture. "
            "Good for capacity planning; the predictions mean nothing, and every answer says so.",
        ),
    ] = None,
    memory_limit: Annotated[
        float | None,
        typer.Option(
            help="Most MiB that variants may take; the most useful are kept. Default: no limit. See docs/memory.md."
        ),
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="Processes that answer: a number, or `auto`; default 1. See docs/scaling.md.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).", envvar="EFFSERVE_CONFIG")] = None,
) -> None:
    """Serve the model store over HTTP and gRPC.

    Every setting can also come from the environment (`EFFSERVE_HTTP_PORT=8080`) or the settings file; flags win over
    the environment, the environment over the file. `docs/settings.md` lists them all.
    """
    from service import settings
    from service.startup import StartupError
    from service.workers import run as application

    chosen: dict[str, dict[str, Any]] = {
        "http": {"host": host, "port": http_port},
        "grpc": {"host": host, "port": grpc_port},
        "store": {"dir": store, "memory_limit_mib": memory_limit},
        "routing": {"route_untrained": route_untrained},
        "workers": {"count": workers},
    }
    try:
        application.run(settings.load(config=config, overrides=_given(chosen)), progress=starting)
    except (settings.SettingsError, StartupError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def build(
    variants: Annotated[
        list[str] | None, typer.Argument(help="b0…b7, b0-g16…b7-g16, b0-g16-gn…; default: all b.")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="`untrained` (seeded, meaningless, for capacity planning), `bundled` (the small trained networks that "
            "come with effserve), or a .safetensors file of `effserve train` or in timm's layout."
        ),
    ] = "untrained",
    seed: Annotated[int, typer.Option(help="Seed of untrained weights.")] = 0,
    phi: Annotated[float | None, typer.Option(help="A custom level by compound coefficient, e.g. 1.5.")] = None,
    width: Annotated[float | None, typer.Option(help="A custom level: width multiplier.")] = None,
    depth: Annotated[float | None, typer.Option(help="A custom level: depth multiplier.")] = None,
    resolution: Annotated[int | None, typer.Option(help="A custom level: input size in pixels.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of a custom level.")] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            help="The published checkpoint that the file is, e.g. aa_in1k: settles padding and preprocessing."
        ),
    ] = None,
    padding: Annotated[
        str | None,
        typer.Option(help="Of the file's network: `same` (from TensorFlow; default) or `symmetric` (torch)."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the file's weights.")] = None,
    top1: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Top-1 of the file's weights, as you measured it: budgets rank by it."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="What --top1 was measured on.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Label file (index, WordNet id, label; tab-separated).")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Build graphs into the model store. What is already there is kept."""
    from service.commands import build as building

    custom = building.Custom(phi=phi, width=width, depth=depth, resolution=resolution, name=name)
    source = building.Source(weights, seed, tag, padding, licence, top1, dataset)
    building.build(variants or [], custom=custom, source=source, labels=labels, store=store, as_json=as_json)


@app.command()
def train(
    variant: Annotated[str, typer.Option(help="b0…b7, b0-g16…b7-g16, b0-g16-gn….")],
    data: Annotated[
        Path, typer.Option(help="Images as CLASS/FILE, in a folder or ZIP; a class is a WordNet id or a word.")
    ],
    validation: Annotated[
        Path | None, typer.Option("--val", help="Images to measure accuracy on after each epoch; never trained on.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; goes on where it was stopped. Default: .training/VARIANT.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Input edge of the served network, pixels. Default: the level's own.")
    ] = None,
    train_size: Annotated[
        int | None,
        typer.Option(
            help="Edge during training; equal by 32. Default: about half of the pixels (reduced-resolution training)."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at the training size.")] = None,
    fine_tune_epochs: Annotated[
        int | None, typer.Option(help="Epochs of the last layers at the full size, afterwards.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak; warm-up before, cosine after.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, crops and dropout.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other hyperparameter, see `training/recipe.py`."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1…; default: a GPU where there is one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that prepare images.", min=0)] = None,
    grow_from: Annotated[
        Path | None, typer.Option(help="A smaller trained network of the same kind to start from (Net2Net).")
    ] = None,
) -> None:
    """Train a variant on labelled images; the file it ends in goes into a store by `effserve build --weights`."""
    from service.commands import train as training

    options = {
        "size_px": size,
        "train_size_px": train_size,
        "epochs": epochs,
        "fine_tune_epochs": fine_tune_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    run = training.Run(variant, data, validation, out, options, device, workers, grow_from)
    training.train(run, settings or [])


@app.command()
def pack(
    file: Annotated[Path, typer.Argument(help="What `effserve train` ended in: .training/VARIANT/model.safetensors.")],
    data: Annotated[Path, typer.Option(help="Labelled images to measure on, before and after; never trained on.")],
    out: Annotated[Path, typer.Option(help="Folder for VARIANT.safetensors and its model card.")] = Path(),
    dataset: Annotated[
        str | None, typer.Option(help="What the images are called; default: the name of --data.")
    ] = None,
    note: Annotated[str, typer.Option(help="First paragraph of the model card: what the network is for.")] = "",
) -> None:
    """Make a trained file a quarter as large (8-bit weights), measure what that costs, and write its model card."""
    from service.commands import pack as packing

    packing.pack(file, data=data, folder=out, dataset=dataset, note=note)


@app.command()
def pull(
    variants: Annotated[list[str] | None, typer.Argument(help="Levels to fetch; default b0…b7.")] = None,
    tag: Annotated[str, typer.Option(help="Checkpoint tag, e.g. aa_in1k, ns_jft_in1k, ra_in1k.")] = "aa_in1k",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Fetch trained checkpoints from the model hub and build them into the store."""
    from service.commands import build as building

    building.pull(variants or [], tag=tag, store=store, as_json=as_json)


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="An ONNX file, or `timm:NAME` or `timm:NAME.TAG` (extra `timm`).")],
    name: Annotated[str | None, typer.Option(help="Of the variant. Default: the file's name, or timm's.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label file (index, WordNet id, label; tab-separated). Default: ImageNet-1k.")
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Top-1 of these weights, as you measured it: budgets rank by it."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="What --accuracy was measured on.")] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Input edge in pixels. Needed where the network takes any size.")
    ] = None,
    crop_pct: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Part of the resized shorter edge kept. Default: 0.875.")
    ] = None,
    crop_mode: Annotated[str | None, typer.Option(help="`center` (default), or `squash` the whole image.")] = None,
    interpolation: Annotated[str | None, typer.Option(help="`bicubic` (default) or `bilinear`.")] = None,
    mean: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Of pixels in [0, 1], red first. Default: 0.485 0.456 0.406, ImageNet's."),
    ] = None,
    std: Annotated[
        tuple[float, float, float] | None, typer.Option(help="Likewise. Default: 0.229 0.224 0.225, ImageNet's.")
    ] = None,
    value_range: Annotated[
        str | None,
        typer.Option("--range", help="In place of --mean and --std: pixels brought to `0-1`, `0-255` or `-1-1`."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Order of axes, `nchw` or `nhwc`. Default: what the file shows.")
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Order of colours the network takes: `rgb` (default), `bgr`.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="Which output has the classes, where there are several.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the file's weights.")] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="A network of timm with seeded weights, which mean nothing.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of untrained weights. Default: 0.")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Make any ONNX image classifier, or a network of timm, a variant of the model store.

    Axes, type, outputs and a softmax at the end are detected, adapted and checked by a run; what cannot be adapted is
    refused with the reason. Defaults of the preparation are those of an ONNX file; for timm they are timm's.
    """
    from service.commands import imports

    network = imports.Network(layout, channels, value_range, mean, std, output, licence)
    preparation = imports.Preparation(input_size, crop_pct, crop_mode, interpolation)
    asked = imports.Asked(source, name, labels, network, preparation, accuracy, dataset, untrained, seed, store)
    imports.import_network(asked, as_json=as_json)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Images in a folder or ZIP, under their classes: WordNet ids or labels.")],
    variants: Annotated[
        list[str] | None, typer.Option(help="Variants to evaluate, e.g. `b0,b1`; default: all in the store.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Record the figures in the manifests, as `measured`.")] = False,
    dataset: Annotated[
        str | None, typer.Option(help="What the images are called; default: the name of --data.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images, evenly over the classes.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Images in work at once; default: usable cores.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Also show top-1 of each class.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy against latency: a .png or .svg file.")] = None,
    save_predictions: Annotated[Path | None, typer.Option(help="Keep logits and labels: an .npz file.")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy, calibration and speed of variants on labelled images, through the service's own path."""
    from service.commands import evaluate as evaluation

    asked = evaluation.Asked(data, variants or (), store, dataset, limit, threads)
    wanted = evaluation.Wanted(as_json, per_class, write, plot, save_predictions)
    evaluation.evaluate(asked, wanted)


@app.command()
def quantize(
    variants: Annotated[list[str], typer.Argument(help="Variants of the store; each gives NAME-int8.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Images in a folder or ZIP, under their classes; never trained on. Some settle how, others "
            "measure what it costs."
        ),
    ],
    calibrate_images: Annotated[int, typer.Option(help="How many images settle how; the others measure.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Of that split.")] = 0,
    reduce_range: Annotated[
        bool | None,
        typer.Option(
            "--reduce-range/--no-reduce-range",
            help="Weights of 7 bits, for x86 processors without VNNI, where products of 8 bits saturate. Default: as "
            "this one needs.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Divergence of its probabilities, in nats, that will do; beyond it the layers that lose most stay in "
            "float32. Default: 0.02.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="What the images are called; default: the name of --data.")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Make variants in 8-bit integers, beside those they are made from, and measure accuracy and speed of both.

    Which layers stay in float32 is found by trying. Budgets choose the new variant only where it is quicker than its
    original on the serving machine, and rank it by what the comparison vouches for; requests may name it.
    """
    from service.commands import quantize as quantising

    asked = quantising.Asked(variants, data, store, dataset, calibrate_images, seed, reduce_range, tolerance)
    quantising.quantize(asked, as_json=as_json)


@app.command()
def simulate(
    trace: Annotated[
        str,
        typer.Option(
            help="When requests come: `poisson`, `gamma4`, `gamma8` (bursts: variance of the gaps over their squared "
            "mean), `step` (0.5x, then 3x), `ramp`, or a CSV file with arrival_s and, if it likes, budget_ms."
        ),
    ] = "poisson",
    policy: Annotated[
        list[str] | None, typer.Option(help="What decides, e.g. `k1,slackfit`, `static:b0`, or `all`; default: k1.")
    ] = None,
    lanes: Annotated[int, typer.Option(min=1, max=1024, help="Requests in work at the same time.")] = 2,
    load: Annotated[
        float | None,
        typer.Option(
            help="Share of the lanes' time that the cheapest variant alone would take, from "
            f"{LEAST_LOAD:g} to {MOST_LOAD:g}; a file is stretched to it. Default: 0.5; a file as it is.",
            callback=_load,
        ),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Budgets in ms with their weights. Default: the file's, or `50:.2,100:.25,200:.25,400:.2,800:.1`."
        ),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=2, max=10_000_000, help="How many; default: 10000, or all of a file.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals, budgets and service times.")] = 0,
    times: Annotated[
        str | None,
        typer.Option(
            help="What runs take: `proteus` or `ramsis` (published medians), or a file of measured runs (variant, "
            "busy, seconds). Default: proteus; with --store, what was measured here."
        ),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=NUMBER", help="A parameter of those policies that have it."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Take variants and costs of this model store. Default: EfficientNets as published."),
    ] = None,
    route_untrained: Annotated[
        bool, typer.Option("--route-untrained", help="Let budgets choose seeded weights of the store.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play a trace against policies, in virtual time, with the server's own scheduler.

    All policies meet the same requests, budgets and service times. Requests are best effort; what counts is the share
    answered within the budget and the accuracy of the variants that answered. A bound that no scheduler can pass stands
    beside it.
    """
    from service.commands import simulate as simulation

    asked = simulation.Asked(
        trace, policy or ["k1"], lanes, load, budgets, requests, seed, times, store, route_untrained, parameters or ()
    )
    simulation.simulate(asked, as_json=as_json)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="What `python -m benchmarks.scheduling` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html and the PNG files.")],
    coverage: Annotated[Path | None, typer.Option(help="What `python -m benchmarks.coverage` wrote.")] = None,
) -> None:
    """Render a comparison of policies: one HTML page that needs nothing else, and its pictures."""
    from service.commands import report as reporting

    reporting.report(results, out, coverage)


@app.command()
def variants(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show the live accuracy/latency/cost table of a running server."""
    client.variants(url=url, as_json=as_json)


@app.command()
def top(
    url: Url = DEFAULT_URL,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1, max=3600)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture, of the time since the start.")] = False,
) -> None:
    """Watch a running server: variants, budgets, lanes and queue, in the terminal. q quits.

    Where standard output is no terminal, one picture is printed.
    """
    from service.commands import top as watching

    watching.top(url=url, interval_s=interval, once=once)


@app.command()
def reload(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Make a running server serve what its model store holds: the newest version of everything, and nothing else.

    The server has to allow it: `store.changes` is `explicit` or `poll`. Exit status 1: something was refused.
    """
    client.reload(url=url, as_json=as_json)


@app.command()
def classify(
    files: Annotated[list[Path], typer.Argument(help="Image files.")],
    budget_ms: Budget = None,
    top_k: Annotated[int, typer.Option(help="How many classes to show.", min=1)] = 5,
    variant: Named = None,
    min_accuracy: MinAccuracy = None,
    mode: ModeOption = None,
    policy: PolicyOption = None,
    anytime: Annotated[
        bool, typer.Option("--anytime", help="Show a first answer at once, and better ones as they come.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send images to a running server and show what it sees."""
    asked = _asked(budget_ms, variant, min_accuracy, mode, policy, top_k)
    client.classify(files, url=url, asked=asked, as_json=as_json, anytime=anytime)


@app.command()
def plan(
    budget_ms: Budget = None,
    variant: Named = None,
    min_accuracy: MinAccuracy = None,
    mode: ModeOption = None,
    policy: PolicyOption = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what a budget would buy now, without sending an image."""
    client.plan(url=url, asked=_asked(budget_ms, variant, min_accuracy, mode, policy), as_json=as_json)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"effserve {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


def _asked(
    budget_ms: float | None,
    variant: str | None,
    min_accuracy: float | None,
    mode: str | None,
    policy: str | None,
    top_k: int | None = None,
) -> ClassifyOptions:
    return {
        "budget_ms": budget_ms,
        "variant": variant,
        "min_accuracy": min_accuracy,
        "mode": mode,
        "policy": policy,
        "top_k": top_k,
    }


def _given(groups: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Setting overrides, without those that were not given."""
    return {group: {k: v for k, v in values.items() if v is not None} for group, values in groups.items()}


def main() -> None:
    """Entry point of the console script. A failure that one line explains ends with that line and exit code 2."""
    try:
        app()
    except CommandError as error:
        err.print(f"effserve: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
