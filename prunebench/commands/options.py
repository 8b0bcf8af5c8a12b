"""Options that several commands share, each declared once, and how their values are read."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from base.errors import UserError
from base.quantities import Quantity
from energy.carbon import Intensity, read_intensity
from pruner.scoring.targets import Target
from server.engines.registry import engine_choices

if TYPE_CHECKING:
    EngineChoice = str
else:
    EngineChoice = Literal[engine_choices()]  # the engines registered by now

# An option under a heading of the help that several commands have.
server_option = partial(typer.Option, rich_help_panel="Server")
access_option = partial(typer.Option, rich_help_panel="Access")
cost_option = partial(typer.Option, rich_help_panel="Cost")
_energy_option = partial(typer.Option, rich_help_panel="Energy")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.", rich_help_panel="Output")]

# Of a checkpoint and the widths to cut it to: prune, inspect.
Source = Annotated[str, typer.Argument(help="A checkpoint folder, or a model on the Hugging Face hub, OWNER/NAME.")]
Revision = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit of a model on the hub; default main.", rich_help_panel="Source"),
]
Ratios = Annotated[
    list[float] | None, typer.Option("--expansion-ratio", help="Target width / hidden size; repeatable.")
]
Percentages = Annotated[
    list[float] | None, typer.Option("--pruning-percentage", help="Share of the width to remove; repeatable.")
]
Widths = Annotated[list[int] | None, typer.Option("--intermediate-size", help="Target width itself; repeatable.")]
RemoveLayers = Annotated[
    list[int] | None,
    typer.Option(min=0, help="Whole layers to remove, alone or with each width; repeatable.", rich_help_panel="Depth"),
]
MultipleOf = Annotated[
    int, typer.Option(min=1, help="Round widths to the nearest multiple of this.", rich_help_panel="Widths")
]

# Of a server that is started: serve, evaluate, host.
Engine = Annotated[
    EngineChoice,
    typer.Option(help="What serves the checkpoint; auto: vLLM where it is installed with a GPU, else transformers."),
]
EngineOptions = Annotated[
    list[str] | None,
    typer.Option("--engine-option", help="KEY=VALUE for the engine; repeatable.", rich_help_panel="Engine"),
]
ModelledWattsPerCore = Annotated[
    float | None,
    _energy_option(min=0.001, help="State an assumption; offers modelled CPU energy beside measured."),
]
RequiredKeyFile = Annotated[
    Path | None,
    access_option("--api-key-file", help="Clients must send the key in this file."),
]

# Of a server that is asked: load, load-worker, evaluate.
ServerKeyFile = Annotated[
    Path | None,
    server_option("--api-key-file", help="File with the key that the server requires."),
]
Headers = Annotated[
    list[str] | None,
    server_option("--header", metavar="NAME: VALUE", help="Sent with every request; its name is recorded. Repeatable."),
]
EnergySourceName = Annotated[str, _energy_option(help="auto, none, local, or the URL of a server with /energy.")]

# The grid: load, report.
CarbonIntensity = Annotated[
    str | None,
    _energy_option(
        "--carbon",
        metavar="G|FILE",
        help="Grams of CO2 for a kWh, or a .csv or .json file with time and g_per_kwh; without it there is no mass.",
    ),
]
CarbonSource = Annotated[str | None, _energy_option(metavar="WORDS", help="Where --carbon is from, for the report.")]

# Of requests: load, plan.
PromptTokens = Annotated[str, typer.Option(help="128, uniform:64-256, normal:128,32 or lognormal:128,64,16-1024.")]
OutputTokens = Annotated[str, typer.Option(help="As --prompt-tokens.")]
Slo = Annotated[
    str | None,
    typer.Option(
        help="Latency objectives, e.g. ttft=200ms,tpot=50ms; a load's also itl (the p99 of a request's times between tokens) and e2e.",
        rich_help_panel="Objectives",
    ),
]

# Prices: plan, report.
PriceKwh = Annotated[float | None, cost_option(min=0, help="Price of a kWh, in your currency.")]
GpuHour = Annotated[float | None, cost_option(min=0, help="Price of a GPU for an hour.")]

# Of a report: report, published.
Margin = Annotated[
    str, typer.Option(help="Differences up to this count as equivalent, e.g. 1% or 0.01; 0: any that is not chance.")
]


def quantity(kind: Quantity, words: str, *, least: float, most: float | None = None, panel: str | None = None) -> Any:
    """An option for a duration, rate or size, within bounds; a plain number has the unit of `kind`."""

    def read(given: float | str) -> float:
        try:
            value = float(kind.read(given))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if not least <= value <= (math.inf if most is None else most):
            bounds = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
            raise typer.BadParameter(f"{given} must be {bounds} {kind.plain}")
        return int(value) if value.is_integer() else value

    return typer.Option(help=words, metavar=kind.metavar, parser=read, min=least, max=most, rich_help_panel=panel)


def intensity(carbon: str | None, source: str | None) -> Intensity | None:
    """--carbon with its --carbon-source. Raises CarbonError for one that cannot be used."""
    if carbon is None:
        if source is not None:
            raise typer.BadParameter("--carbon-source belongs to --carbon")
        return None
    return read_intensity(carbon, source)


def targets(ratios: list[float] | None, percentages: list[float] | None, widths: list[int] | None) -> list[Target]:
    """The three target options in one list: ratios, percentages, widths."""
    return [
        *(Target("ratio", ratio) for ratio in ratios or []),
        *(Target("percentage", percentage) for percentage in percentages or []),
        *(Target("width", width) for width in widths or []),
    ]


def engine_options(given: list[str] | None) -> dict[str, str]:
    """KEY=VALUE pairs as a dictionary."""
    found = {}
    for option in given or []:
        key, equals, value = option.partition("=")
        if not (key and equals):
            raise UserError(f"--engine-option {option}: it must read KEY=VALUE")
        found[key] = value
    return found


def share(text: str, option: str) -> float:
    """A percentage such as 5%, or a share such as 0.05."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UserError(f"{option} {text}: must be a percentage below 100, such as 5%, or a share, such as 0.05")
    return value
