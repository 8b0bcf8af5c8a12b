"""`prunebench energy`: watch the meters, meter a command or power at rest, predict joules of other shapes of requests."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from base.files import write_record
from base.quantities import SECONDS
from energy.meters.base import EnergyError
from energy.records import EnergyTrace
from energy.window import window_energy
from loadgen.endpoint import Endpoint
from loadgen.energy.command import meter_command
from loadgen.energy.source import pick_energy
from loadgen.energy.traces import ReadTrace, open_meters
from prunebench.commands.options import Json, ModelledWattsPerCore, quantity
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, out, print_line
from prunebench.terminal.damaged import analyse_run
from prunebench.terminal.power_view import PowerView, command_lines, idle_lines, missing_lines

_DELAY_NS = 300_000_000  # figures are shown this late: by then every usual counter has moved on
_NOT_FOUND, _NOT_RUN = 127, 126  # exit statuses, as a shell has them
_FIRST_S = 1.0  # for the first refreshes of the counters

energy = typer.Typer(rich_markup_mode=None)

Url = Annotated[str | None, typer.Option(help="A server with /energy, whose meters are read; default: this machine's.")]


@energy.callback(invoke_without_command=True)
def choose(context: typer.Context) -> None:
    """Print the help if none of the commands below is named."""
    if context.invoked_subcommand is None:
        sys.stdout.write(f"{context.get_help()}\n")


@energy.command()
@examples(
    ("This machine's meters, until Ctrl-C", "prunebench energy watch"),
    (
        "A server's meters for a minute, one JSON object a second",
        "prunebench energy watch --url http://127.0.0.1:8000 --duration 60 --json",
    ),
    ("An alarm when all GPUs together draw over 2 kW", "prunebench energy watch --alarm-above 2000"),
)
def watch(
    url: Url = None,
    interval: Annotated[float, quantity(SECONDS, "Time between two figures.", least=0.1, most=60)] = 1.0,
    duration: Annotated[float | None, quantity(SECONDS, "Stop after this time; default: Ctrl-C.", least=0.1)] = None,
    alarm_above: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="WATTS",
            help="Report on stderr when the headline's mean power of an interval rises above this, and when it falls again.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Power and joules of every meter, live; the whole at the end. With --json one object a line.

    Exit with 1 without any joules, or if there was an alarm.
    """
    with open_meters(url) as read:
        start = end = _begin(read)
        _require_meter(read(start), as_json=as_json)
        view = PowerView(as_json=as_json, limit=alarm_above)
        with view:
            try:
                while duration is None or (end - start) / 1e9 < duration:
                    left_s = interval if duration is None else min(interval, duration - (end - start) / 1e9)
                    time.sleep(max(left_s, 0.01))
                    since, trace = end, read(start)
                    end = trace.now_ns - _DELAY_NS
                    view.tick(trace, start, since, end)
            except KeyboardInterrupt:
                pass  # how a watch ends
        if end <= start:
            return
        total = window_energy(read(start), start, end)
    view.total(total)
    metered = total.gross_joules is not None or total.modelled_joules is not None
    raise typer.Exit(0 if metered and not view.alarms else 1)


@energy.command()
@examples(
    ("Half a minute at rest", "prunebench energy idle"),
)
def idle(
    url: Url = None,
    duration: Annotated[float, quantity(SECONDS, "How long to measure.", least=1)] = 30.0,
    as_json: Json = False,
) -> None:
    """Mean power while nothing is asked, and whether it was steady."""
    with open_meters(url) as read:
        start = _begin(read)
        _require_meter(read(start), as_json=as_json)
        time.sleep(duration + _DELAY_NS / 1e9)
        trace = read(start)
    end = start + round(duration * 1e9)
    whole = window_energy(trace, start, end)
    middle = (start + end) // 2
    halves = [window_energy(trace, a, b).mean_watts for a, b in ((start, middle), (middle, end))]
    half_width = None if whole.gross_joules_uncertainty is None else whole.gross_joules_uncertainty / duration
    if as_json:
        found = {
            "watts": whole.mean_watts,
            "watts_uncertainty": half_width,
            "first_half_watts": halves[0],
            "second_half_watts": halves[1],
            "energy": whole.model_dump(mode="json"),
        }
        out.print_json(json.dumps(found))
    else:
        for line in idle_lines(whole, half_width, halves):
            print_line(line)
    raise typer.Exit(0 if whole.mean_watts is not None else 1)


@energy.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@examples(
    ("A training step", "prunebench energy run -- python train.py --steps 100"),
    (
        "Another tool's benchmark, its joules as JSON in a file",
        "prunebench energy run --output joules.json -- guidellm benchmark",
    ),
)
def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="What is run, with its own options.")],
    idle: Annotated[
        float, quantity(SECONDS, "Idle power is measured for this long before and after; 0: not at all.", least=0)
    ] = 5.0,
    output: Annotated[Path | None, typer.Option(help="Write the figures as JSON to this file too.")] = None,
    source_name: Annotated[
        str, typer.Option("--energy", help="Whose meters: local, or the URL of a server with /energy.")
    ] = "local",
    modelled_watts_per_core: ModelledWattsPerCore = None,
    as_json: Json = False,
) -> None:
    """Joules of any command, printed to stderr once it has ended; its exit status is passed on.

    Without a meter it runs all the same, and its joules are null with the reason.
    """
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise EnergyError(f"--output {output}: {'is a folder' if output.is_dir() else 'its folder is not there'}")
    source = pick_energy(source_name, Endpoint(url="http://127.0.0.1", model=""))
    try:
        found = meter_command(command, source, idle_s=idle, modelled_watts_per_core=modelled_watts_per_core)
    except OSError as error:
        print_line(f"prunebench: {command[0]}: {error.strerror}", err)
        raise typer.Exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUN) from None
    if output is not None:
        write_record(output, found)
    if as_json:
        print_line(found.model_dump_json(exclude={"energy": {"conditions"}}), err, whole=True)
    else:
        for line in command_lines(found):
            print_line(line, err)
    raise typer.Exit(found.status)


@energy.command()
@examples(
    (
        "Requests of 2000 tokens in and 100 out, by a run of other lengths",
        "prunebench energy predict runs/a --prompt-tokens 2000 --output-tokens 100",
    ),
)
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder whose workloads vary prompt and output length.")],
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Of the requests to predict.")],
    output_tokens: Annotated[int, typer.Option(min=1, help="Of the requests to predict.")],
    as_json: Json = False,
) -> None:
    """Joules that requests of another shape would take, by a run's own trials."""
    rows = _predictions(run, prompt_tokens, output_tokens)
    if as_json:
        out.print_json(json.dumps({"prompt_tokens": prompt_tokens, "output_tokens": output_tokens, "rows": rows}))
    elif not rows:
        print_line(f"{run}: no trial has measured joules")
    else:
        for row in rows:
            print_line(f"{row['configuration']}, {row['load']}: {_prediction(row)}")
    raise typer.Exit(0 if any(row["reason"] is None for row in rows) else 1)


def _predictions(run: Path, prompt_tokens: int, output_tokens: int) -> list[dict[str, Any]]:
    """One row for each configuration and load; `reason` says why there is no prediction."""
    rows = []
    for model in analyse_run(run).energy_models:
        row: dict[str, Any] = {"configuration": model.label, "load": model.load, "reason": model.incomplete}
        if model.incomplete is None:
            row |= {"lack_of_fit": model.fit if model.is_bent else None}
            row |= model.predict(prompt_tokens, output_tokens).model_dump()
        rows.append(row)
    return rows


def _prediction(row: dict[str, Any]) -> str:
    if row["reason"] is not None:
        return f"no prediction: {row['reason']}"
    notes = ", beyond the lengths measured" if row["extrapolated"] else ""
    notes += f"; {row['lack_of_fit']}: the interval does not hold" if row["lack_of_fit"] else ""
    return (
        f"{row['joules_per_request']:.4g} J/request ({row['low']:.4g} to {row['high']:.4g}), "
        f"{row['joules_per_output_token']:.4g} J/output token{notes}"
    )


def _begin(read: ReadTrace) -> int:
    """A time from which on every meter has been seen to move."""
    time.sleep(_FIRST_S)
    return read(2**62).now_ns - _DELAY_NS


def _require_meter(trace: EnergyTrace, *, as_json: bool) -> None:
    """Exit with 1, and the reasons, if there is no meter."""
    if trace.meters:
        return
    if as_json:
        out.print_json(json.dumps({"energy": None, "missing": [m.model_dump(mode="json") for m in trace.missing]}))
    else:
        for line in missing_lines(trace.missing):
            print_line(line)
    raise typer.Exit(1)
