"""The report's pages on joules themselves: what each kind of token costs, and what the machine draws at rest."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from energy.records import IdleWindow, WindowEnergy
from reports.analysis.energy_fit import INFLATED
from reports.analysis.energy_model import Coefficient, EnergyModel
from reports.analysis.records import Analysis
from reports.document.blocks import Block, Column, Entry, Items, Plot, Plots, Prose, Row, Section, Table, note_letter
from reports.document.chart import Axis, Chart, Marks, Rule, at_least
from reports.document.wording import figure

SHAPES = ((128, 128), (1024, 128), (128, 1024), (2048, 512))  # prompt and output tokens of the requests predicted
_LEDE = (
    "A line through the trials: joules = a · prompt tokens + b · output tokens + c · requests, for one configuration under one "
    "load. a is prefill, b decoding; all gross, so idle power and the batch are in them. Beneath, the 95 % t interval."
)
_HOW = "To tell prefill from decoding, measure both lengths at two values each under one load: experiments/energy-model.toml does."


def energy_model_section(analysis: Analysis) -> Section | None:
    """Prefill and decode joules, how well the line holds, and what other shapes would take."""
    models = analysis.energy_models
    if not models:
        return None
    fitted = [m for m in models if m.reason is None]
    refused = _refusals(models)
    if not fitted:
        return Section("energy-model", "Joules by what they were spent on", [Items(refused), Prose(_HOW, "fine")])
    blocks: list[Block] = [Prose(_LEDE, "lede"), _coefficients(fitted)]
    whole = [m for m in fitted if m.incomplete is None]
    if whole:
        blocks.append(_predictions(whole))
    if refused:
        blocks.append(Items(refused))
    return Section(
        "energy-model", "Joules by what they were spent on", [*blocks, Plots([_residuals(fitted)], abreast=1)]
    )


def idle_section(analysis: Analysis) -> Section | None:
    """Power at rest, in the four states it was measured in, or around every visit."""
    if analysis.idles:
        return _idle_of_visits(analysis)
    infos = [c.info for c in analysis.configurations]
    states = [(i.label, (i.idle_without_model, i.idle, i.idle_after_load, i.idle_again)) for i in infos]
    if not any(idle is not None and idle.gross_joules is not None for _, found in states for idle in found):
        return None
    notes: dict[str, str] = {}
    rows = [
        Row([Entry(label), *(_watts(idle, notes) for idle in found)], is_baseline=label == analysis.info.baseline)
        for label, found in states
    ]
    columns = [
        Column("Configuration"), Column("No model", "W"), Column("Loaded, quiet", "W"), Column("Right after load", "W"),
        Column("Quiet again", "W"),
    ]  # fmt: skip
    table = Table("Mean power without requests; net joules subtract the second figure.", columns, rows, notes)
    return Section("idle", "Power at rest", [table])


def _idle_of_visits(analysis: Analysis) -> Section | None:
    """Means over the blocks, each with the lowest and the highest."""
    notes: dict[str, str] = {}
    rows = []
    for info in (c.info for c in analysis.configurations):
        own = [idle for idle in analysis.idles if idle.label == info.label]
        before = [_mean_watts(idle.before) for idle in own]
        after = [_mean_watts(idle.after) for idle in own]
        changes = [
            late - early for early, late in zip(before, after, strict=True) if early is not None and late is not None
        ]
        entries = [
            Entry(info.label),
            _watts(info.idle_without_model, notes),
            _over_blocks(before),
            _over_blocks(after),
            _watts(info.idle_after_load, notes),
            Entry(f"{max(changes, key=abs):+.2f}" if changes else "—"),
        ]
        rows.append(Row(entries, is_baseline=info.label == analysis.info.baseline))
    columns = [
        Column("Configuration"), Column("No model", "W"), Column("Before a load", "W"), Column("After a load", "W"),
        Column("Right after load", "W"), Column("Largest change", "W"),
    ]  # fmt: skip
    caption = (
        "Mean power without requests, before and after the load of each block (mean, lowest and highest). Net joules of a trial subtract "
        "what lies between the two of its own block; their 95 % half-width has the meter, the flicker and the drift of idle power in it."
    )
    return Section("idle", "Power at rest", [Table(caption, columns, rows, notes)])


def _mean_watts(idle: IdleWindow | None) -> float | None:
    if idle is None or idle.whole.gross_joules is None:
        return None
    return idle.whole.gross_joules / ((idle.whole.end_ns - idle.whole.start_ns) / 1e9)


def _over_blocks(watts: Sequence[float | None]) -> Entry:
    known = [each for each in watts if each is not None]
    return Entry(figure(mean(known)), f"{figure(min(known))} to {figure(max(known))}") if known else Entry("—")


def _watts(idle: WindowEnergy | None, notes: dict[str, str]) -> Entry:
    if idle is not None and idle.gross_joules is not None:
        seconds = (idle.end_ns - idle.start_ns) / 1e9
        half = None if idle.gross_joules_uncertainty is None else idle.gross_joules_uncertainty / seconds
        return Entry(figure(idle.gross_joules / seconds), None if half is None else f"± {figure(half)}")
    reason = "not measured" if idle is None else idle.reason or "not measured"
    return Entry("—", note=note_letter(reason, notes))


def _refusals(models: list[EnergyModel]) -> list[str]:
    """Each reason once, with the loads it holds for."""
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
        Column("Request", "J"), Column("Off the line", "one s.d."), Column("Fit"), Column("Trials"),
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
                Entry(f"{m.relative_deviation or 0:.1%}"),
                Entry(m.fit),
                Entry(str(m.trials)),
            ]
        )
        for m in models
    ]
    bent = sorted({m.label for m in models if m.is_bent})
    remarks = [f"A coefficient is not identified if the other two widen its interval more than {INFLATED:g} times."]
    if bent:
        why = "such as where a token costs more the longer the context"
        remarks.append(
            f"A line does not fit {', '.join(bent)}, {why}: its coefficients are averages over these shapes, and their intervals, and those "
            "of what it predicts, do not hold."
        )
    return Table("Joules a token and a request.", columns, rows, notes, remarks)


def _coefficient(
    model: EnergyModel, name: str, found: Coefficient | None, scale: float, notes: dict[str, str]
) -> Entry:
    if found is None:
        reason = model.not_identified[name]
        return Entry("—", note=note_letter(reason, notes))
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
    caption = (
        "What requests of other shapes (prompt + output tokens) would take, with 95 % intervals for a trial of them."
    )
    notes = {"a": "Beyond the lengths that were measured"}
    used = any(entry.note for row in rows for entry in row.entries)
    remarks = ["Others: prunebench energy predict RUN --prompt-tokens N --output-tokens N"]
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
                colour=f"series-{number % 4 + 1}",
                symbol="circle",
                hover=[f"{r.shape}, block {r.block + 1}: {r.share:+.2%}" for r in model.residuals],
            )
        )
    values = [y for m in marks for y in m.y]
    chart = Chart(
        x=Axis("joules by the line", log=True),
        y=Axis("measured / line", limits=at_least(0.95, 1.05, values), form="ratio"),
        marks=marks,
        rules=[Rule(1.0)],
    )
    alt = f"{title}: {len(values)} trials between {min(values):.3f} and {max(values):.3f} of the line."
    return Plot(title, "A pattern here, and not just scatter, says that the line does not hold.", alt, chart)
