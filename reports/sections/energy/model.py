"""Joules by prompt token, output token and request, from a line through the trials."""

from __future__ import annotations

from base.figures import figure, percent
from reports.analysis.energy.fit import INFLATED
from reports.analysis.energy.model import Coefficient, EnergyModel
from reports.analysis.records import Analysis
from reports.document.blocks import Block, Column, Entry, Items, Plot, Plots, Prose, Row, Section, Table, note_letter
from reports.document.chart import Axis, Chart, Marks, Rule, at_least, series_style
from reports.document.wording import ABSENT, times

SHAPES = ((128, 128), (1024, 128), (128, 1024), (2048, 512))  # prompt and output tokens of the requests predicted
_LEDE = (
    "A line through the trials: joules = a · prompt tokens + b · output tokens + c · requests, for one configuration under one "
    "load. a is prefill, b decoding; all are gross, so they include idle power and depend on the batch. Beneath, the 95 % t interval."
)
_TITLE = "Joules by prompt token, output token and request"
_HOW = "To separate prefill from decoding, measure both lengths at two values each under one load, as experiments/energy-model.toml does."


def energy_model_section(analysis: Analysis) -> Section | None:
    """Prefill and decode joules, how well the line fits, and predictions for other shapes; None without measured joules."""
    models = analysis.energy_models
    if not models:
        return None
    fitted = [m for m in models if m.reason is None]
    refused = _refusals(models)
    if not fitted:
        return Section("energy-model", _TITLE, [Items(refused), Prose(_HOW, "fine")])
    blocks: list[Block] = [Prose(_LEDE, "lede"), _coefficients(fitted)]
    whole = [m for m in fitted if m.incomplete is None]
    if whole:
        blocks.append(_predictions(whole))
    if refused:
        blocks.append(Items(refused))
    return Section("energy-model", _TITLE, [*blocks, Plots([_residuals(fitted)], abreast=1)])


def _refusals(models: list[EnergyModel]) -> list[str]:
    """Each reason once, with the loads that it applies to."""
    loads: dict[str, list[str]] = {}
    for model in models:
        if model.reason is not None:
            found = loads.setdefault(model.reason, [])
            if model.load not in found:
                found.append(model.load)
    return [f"No line for {', '.join(found)}: {reason}." for reason, found in loads.items()]


def _coefficients(models: list[EnergyModel]) -> Table:
    columns = [
        Column("Configuration"), Column("Load"), Column("Prompt token", "mJ"), Column("Output token", "mJ"),
        Column("Request", "J"), Column("Residual", "one s.d."), Column("Fit"), Column("Trials"),
    ]  # fmt: skip
    notes: dict[str, str] = {}
    rows = [
        Row(
            [
                Entry(m.label),
                Entry(m.load),
                _coefficient(m, "prompt token", m.prompt_token, 1e3, notes),
                _coefficient(m, "output token", m.output_token, 1e3, notes),
                _coefficient(m, "request", m.request, 1.0, notes),
                Entry(percent(m.relative_deviation or 0)),
                Entry(m.fit),
                Entry(str(m.trials)),
            ]
        )
        for m in models
    ]
    bent = sorted({m.label for m in models if m.is_bent})
    remarks = [f"A coefficient is not identified if the other two widen its interval more than {INFLATED:g} times."]
    if bent:
        remarks.append(
            f"A line does not fit {', '.join(bent)}, for example because a token costs more in a longer context: the coefficients are "
            "averages over these shapes, and neither their intervals nor those of predictions hold."
        )
    return Table("Joules a token and a request.", columns, rows, notes, remarks)


def _coefficient(
    model: EnergyModel, name: str, found: Coefficient | None, scale: float, notes: dict[str, str]
) -> Entry:
    if found is None:
        reason = model.not_identified[name]
        return Entry(ABSENT, note=note_letter(reason, notes))
    low, high = figure(found.low * scale), figure(found.high * scale)
    return Entry(figure(found.joules * scale), f"{low} to {high}")


def _predictions(models: list[EnergyModel]) -> Table:
    columns = [Column("Configuration"), Column("Load"), *(Column(f"{p} + {o}", "J/request") for p, o in SHAPES)]
    rows = []
    for model in models:
        entries = [Entry(model.label), Entry(model.load)]
        for prompt, output in SHAPES:
            found = model.predict(prompt, output)
            note = "a" if found.extrapolated else None
            entries.append(
                Entry(figure(found.joules_per_request), f"{figure(found.low)} to {figure(found.high)}", note=note)
            )
        rows.append(Row(entries))
    caption = "Predicted joules for requests of other shapes (prompt + output tokens), with 95 % intervals for a trial of them."
    notes = {"a": "Outside the measured lengths"}
    used = any(entry.note for row in rows for entry in row.entries)
    remarks = ["For other shapes: prunebench energy predict RUN --prompt-tokens N --output-tokens N"]
    return Table(caption, columns, rows, notes if used else {}, remarks)


def _residuals(models: list[EnergyModel]) -> Plot:
    title = "Every trial against its line"
    marks = []
    for number, model in enumerate(models):
        marks.append(
            Marks(
                x=[r.fitted_joules for r in model.residuals],
                y=[1 + r.share for r in model.residuals],
                name=f"{model.label}, {model.load}",
                colour=series_style(number)[0],
                symbol="circle",
                hover=[f"{r.shape}, block {r.block + 1}: {percent(r.share, signed=True)}" for r in model.residuals],
            )
        )
    values = [y for m in marks for y in m.y]
    chart = Chart(
        x=Axis("joules by the line", log=True),
        y=Axis("measured / line", limits=at_least(0.95, 1.05, values), form="ratio"),
        marks=marks,
        rules=[Rule(1.0)],
    )
    alt = f"{title}: {len(values)} trials between {times(min(values))} and {times(max(values))} the line."
    return Plot(title, "A pattern, rather than scatter, shows that the line does not fit.", alt, chart)
