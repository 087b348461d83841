"""The command line: `effserve serve | build | pull | variants | classify | plan`.

Thin: each command turns its options into settings or arguments and calls one function. What builds graphs needs the
`build` extra, so it is imported only by the commands that use it.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service import __version__
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

DEFAULT_URL = "http://localhost:8000"
Url = Annotated[str, typer.Option(help="Where the server listens.", envvar="EFFSERVE_URL")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Store = Annotated[Path | None, typer.Option(help="Model store folder. Default: see `docs/settings.md`.")]
Budget = Annotated[float | None, typer.Option("--budget-ms", help="Latency budget in milliseconds.", min=0)]
Named = Annotated[str | None, typer.Option("--variant", help="Use exactly this variant.")]
MinAccuracy = Annotated[float | None, typer.Option(help="The cheapest variant with at least this top-1, e.g. 0.8.")]
ModeOption = Annotated[str | None, typer.Option("--mode", help="`best_effort` answers late, `strict` refuses.")]


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
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).", envvar="EFFSERVE_CONFIG")] = None,
) -> None:
    """Serve the model store over HTTP and gRPC.

    Every setting can also come from the environment (`EFFSERVE_HTTP_PORT=8080`) or the settings file; flags win over
    the environment, the environment over the file. `docs/settings.md` lists them all.
    """
    from service import app as application
    from service import settings
    from service.startup import StartupError

    chosen: dict[str, dict[str, Any]] = {
        "http": {"host": host, "port": http_port},
        "grpc": {"host": host, "port": grpc_port},
        "store": {"dir": store},
        "routing": {"route_untrained": route_untrained},
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
        typer.Option(help="`untrained` (seeded, meaningless, for capacity planning) or a timm-layout .safetensors."),
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
def pull(
    variants: Annotated[list[str] | None, typer.Argument(help="Levels to fetch; default b0…b7.")] = None,
    tag: Annotated[str, typer.Option(help="Checkpoint tag, e.g. aa_in1k, ns_jft_in1k, ra_in1k.")] = "aa_in1k",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Fetch trained checkpoints from the model hub and build them into the store."""
    from service.commands import build as building

    building.pull(variants or [], tag=tag, store=store, as_json=as_json)


@app.command()
def variants(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show the live accuracy/latency/cost table of a running server."""
    client.variants(url=url, as_json=as_json)


@app.command()
def classify(
    files: Annotated[list[Path], typer.Argument(help="Image files.")],
    budget_ms: Budget = None,
    top_k: Annotated[int, typer.Option(help="How many classes to show.", min=1)] = 5,
    variant: Named = None,
    min_accuracy: MinAccuracy = None,
    mode: ModeOption = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send images to a running server and show what it sees."""
    client.classify(
        files, url=url, params=_asked(budget_ms, variant, min_accuracy, mode) | {"top_k": top_k}, as_json=as_json
    )


@app.command()
def plan(
    budget_ms: Budget = None,
    variant: Named = None,
    min_accuracy: MinAccuracy = None,
    mode: ModeOption = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what a budget would buy now, without sending an image."""
    client.plan(url=url, params=_asked(budget_ms, variant, min_accuracy, mode), as_json=as_json)


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
    budget_ms: float | None, variant: str | None, min_accuracy: float | None, mode: str | None
) -> dict[str, Any]:
    """Query parameters, without those that were not given."""
    asked = {"budget_ms": budget_ms, "variant": variant, "min_accuracy": min_accuracy, "mode": mode}
    return {name: value for name, value in asked.items() if value is not None}


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
