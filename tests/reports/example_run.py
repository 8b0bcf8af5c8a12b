"""A run folder with known true figures, written through the schemas alone; tests compare the report with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from energy.records import Conditions, MeterEnergy, MeterInfo, MeterPower, MissingMeter, PowerTimeline, WindowEnergy
from loadgen.records.parquet import write_parquet
from loadgen.records.schema import ClientHealth, RequestRecord, Trial
from loadgen.records.table import Records
from loadgen.workloads.base import Workload
from loadgen.workloads.closed_loop import BatchLoad, SingleLoad
from pruner.output.manifest import Manifest
from reports.document.pictures import Picture
from reports.runs.records.cells import FailedCell, Placement, TrialCell
from reports.runs.records.configuration import ConfigurationInfo, ModelShape
from reports.runs.records.quality import Quality
from reports.runs.records.run import RunInfo

SINGLE = SingleLoad(name="single-request", requests=12, prompt_tokens=64, output_tokens=32)
BATCH = BatchLoad(name="batch-8", batch_size=8, requests=32, prompt_tokens=64, output_tokens=32)
HIDDEN = 256
SHAPE = ModelShape(
    layers=12, hidden_size=HIDDEN, vocab_size=1000, heads=8, kv_heads=4, head_dim=32, tied_embeddings=True
)
NO_METER = "no NVIDIA driver answers, and RAPL may not be read"
REMEDY = "ask an administrator for read access to energy_uj"
BLANK = Picture(b'<svg viewBox="0 0 1 1"/>', [])  # where other tests look at the pictures
EPOCH_NS = 7_000_000_000_000_003  # an uptime of 81 days: floats of nanoseconds would lose digits


@dataclass(frozen=True)
class Truth:
    """The true figures of one configuration under one workload."""

    ttft_ms: float
    tpot_ms: float
    watts: float = 180.0


@dataclass(frozen=True)
class Example:
    """What to write. `noise` is the relative spread of a trial; 0 makes every figure exact."""

    widths: tuple[int, ...] = (1024, 896, 768, 640, 512)
    workloads: tuple[Workload, ...] = (SINGLE, BATCH)
    blocks: int = 5
    noise: float = 0.0
    seed: int = 11
    energy: Literal["nvml", "modelled", "none"] = "nvml"
    quality: bool = True
    status: Literal["complete", "running", "interrupted", "failed"] = "complete"
    missing: frozenset[tuple[int, int, str]] = frozenset()  # (block, width, workload) never measured
    failed: frozenset[tuple[int, int, str]] = frozenset()
    name: str = "example"
    labels: dict[int, str] = field(default_factory=dict)
    model: str = "tinyglu"
    engine: str = "transformers"
    engine_options: dict[int, dict[str, str]] = field(default_factory=dict)
    tokenizers: dict[int, str] = field(default_factory=dict)  # by width; None where there is none
    characters: dict[int, int] = field(default_factory=dict)  # a token, by width; else they are not recorded
    placements: dict[tuple[int, int], Placement] = field(default_factory=dict)  # by block and width
    other: Callable[[int, RequestRecord], dict[str, Any]] = lambda *_: {}  # of a request, by width

    def label(self, width: int) -> str:
        return self.labels.get(width, f"width-{width}")

    def truth(self, width: int, workload: Workload) -> Truth:
        """The width does not affect single requests; batches gain half of the cut, and power falls slightly."""
        cut = 1 - width / self.widths[0]
        if workload.kind == "single":
            return Truth(ttft_ms=20.0, tpot_ms=10.0, watts=180.0 - 20.0 * cut)
        return Truth(ttft_ms=60.0 / (1 + 0.5 * cut), tpot_ms=16.0 / (1 + 0.5 * cut), watts=260.0)

    def offered(self, width: int, workload: Workload) -> Workload:
        """The number of tokens generated: as requested."""
        return workload

    def perplexity(self, width: int) -> float:
        return 8.0 * float(np.exp(3.0 * (1 - width / self.widths[0])))


def write_run(path: Path, example: Example) -> Path:
    """Write the folder as `prunebench run` does."""
    for name in ("configurations", "trials", "failures"):
        (path / name).mkdir(parents=True)
    info = RunInfo(
        name=example.name,
        created_at="2026-11-23T09:30:00+00:00",
        prunebench_version="0.1.0",
        baseline=example.label(example.widths[0]),
        labels=[example.label(w) for w in example.widths],
        workloads=[w.name for w in example.workloads],
        blocks=example.blocks,
        seed=7,
        status=example.status,
    )
    (path / "run.json").write_text(info.model_dump_json())
    environment = {
        "processor": "Example CPU",
        "cores": 8,
        "governor": None,
        "packages": {"numpy": "2.3.5", "vllm": None},
    }
    (path / "environment.json").write_text(json.dumps(environment))
    (path / "experiment.toml").write_text('name = "example"\n\n[prune]\nwidths = [896, 768, 640, 512]\n')
    for width in example.widths:
        configuration = configure(example, width)
        (path / "configurations" / f"{configuration.label}.json").write_text(configuration.model_dump_json())
    _write_cells(path, example)
    return path


def _write_cells(path: Path, example: Example) -> None:
    rng = np.random.default_rng(example.seed)
    order, clock = 0, EPOCH_NS
    for block in range(example.blocks):
        shared = 1 + example.noise * float(rng.normal())  # what the whole block shares, such as a warm machine
        for width in rng.permutation(example.widths).tolist():
            for workload in example.workloads:
                place = (block, width, workload.name)
                cell = TrialCell(
                    block=block,
                    label=example.label(width),
                    workload=workload.name,
                    order=order,
                    placement=example.placements.get((block, width)),
                )
                order += 1
                if place in example.failed:
                    write_failure(path, cell, "server ended with status 1: out of memory")
                elif place not in example.missing:
                    own = shared * (1 + example.noise * float(rng.normal()))
                    offered = example.offered(width, workload)
                    records = offer(offered, example.truth(width, workload), own, clock, rng, example.noise)
                    records = [replace(r, **example.other(width, r)) for r in records]
                    if width in example.characters:
                        records = [
                            replace(r, output_characters=r.output_tokens * example.characters[width]) for r in records
                        ]
                    write_trial(path, cell, measure(example, width, workload, records), records)
                    clock = max(r.end_ns or 0 for r in records) + 10**9


def configure(example: Example, width: int) -> ConfigurationInfo:
    baseline = example.widths[0]
    parameters = 500_000 + 12 * 3 * HIDDEN * width
    return ConfigurationInfo(
        label=example.label(width),
        is_baseline=width == baseline,
        model=f"{example.model}-width-{width}",
        checkpoint=f"checkpoints/width-{width}",
        width=width,
        hidden_size=HIDDEN,
        expansion_ratio=width / HIDDEN,
        pruning_percentage=100 * (1 - width / baseline),
        parameters=parameters,
        checkpoint_bytes=4 * parameters,
        shape=SHAPE,
        engine=example.engine,
        engine_version="5.19.0",
        engine_options={"dtype": "float32"} | example.engine_options.get(width, {}),
        dtype="float32",
        tokenizer_sha256=example.tokenizers.get(width),
        resolved_options={"dtype": "float32", "max_num_seqs": "16"},
        manifest=None if width == baseline else _manifest(width, baseline),
        quality=_quality(example, width),
        idle=window_energy("nvml", 60.0, 0, 2 * 10**9) if example.energy == "nvml" else None,
        load_s=2.5,
    )


def _manifest(width: int, source: int) -> Manifest:
    return Manifest(
        source_id="tinyglu",
        source_revision=None,
        source_files=[],
        criterion="maw",
        seed=None,
        tie_break="stable",
        target=f"width {width}",
        source_width=source,
        width=width,
        hidden_size=HIDDEN,
        expansion_ratio=width / HIDDEN,
        pruning_percentage=100 * (1 - width / source),
        multiple_of=1,
        layers=[],
        output_files=[],
        tool_versions={},
    )


def _quality(example: Example, width: int) -> Quality | None:
    if not example.quality:
        return None
    perplexity = example.perplexity(width)
    return Quality(
        perplexity=perplexity, standard_error=perplexity / 50, tokens=8192, text="held-out text", text_sha256="0" * 64
    )


def offer(
    workload: Workload, truth: Truth, slowness: float, start_ns: int, rng: np.random.Generator, noise: float
) -> list[RequestRecord]:
    """Requests as recorded: groups in sequence, one chunk per token."""
    assert workload.requests is not None
    size = workload.group_size or 1
    records, now = [], start_ns
    for index in range(workload.requests):
        factor = slowness * (1 + noise / 3 * float(rng.normal()))
        records.append(request(index, index // size, now, truth.ttft_ms * factor, truth.tpot_ms * factor, workload))
        if (index + 1) % size == 0:
            now = max(r.end_ns or 0 for r in records) + 200_000
    return records


def request(
    index: int,
    group: int,
    sent_ns: int,
    ttft_ms: float,
    tpot_ms: float,
    workload: Workload,
    *,
    scheduled_ns: int | None = None,
) -> RequestRecord:
    first = sent_ns + round(ttft_ms * 1e6)
    arrivals = [first + round(i * tpot_ms * 1e6) for i in range(workload.output_tokens)]
    return RequestRecord(
        request_id=f"r{index}",
        index=index,
        group=group,
        scheduled_ns=sent_ns if scheduled_ns is None else scheduled_ns,
        sent_ns=sent_ns,
        headers_ns=sent_ns + 500_000,
        first_token_ns=first,
        last_token_ns=arrivals[-1],
        end_ns=arrivals[-1] + 100_000,
        arrival_ns=arrivals,
        arrival_tokens=list(range(1, workload.output_tokens + 1)),
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        counted_by="server-continuous-usage",
        finish_reason="length",
        status=200,
    )


def measure(example: Example, width: int, workload: Workload, records: list[RequestRecord]) -> Trial:
    """A trial whose window covers all its requests."""
    start = min(r.sent_ns or 0 for r in records)
    end = max(r.end_ns or 0 for r in records)
    return Trial(
        url="http://127.0.0.1:8000",
        model=f"{example.model}-width-{width}",
        workload=workload,
        seed=7,
        window_start_ns=start,
        window_end_ns=end,
        window_rule="whole",
        window_rules=2,
        first_sent_ns=start,
        last_end_ns=end,
        started_at="2026-11-23T09:31:00+00:00",
        client=ClientHealth(cpu_fraction=0.11, loop_lag_p99_ms=0.4, schedule_lag_p99_ms=None),
        energy=window_energy(example.energy, example.truth(width, workload).watts, start, end),
        server_prefix_hit_tokens=0,
        server_preemptions=0,
        server_generated_tokens=sum(r.output_tokens or 0 for r in records),
    )


def window_energy(kind: str, watts: float, start_ns: int, end_ns: int) -> WindowEnergy:
    """Joules over a window: measured by a GPU's counter, modelled, or missing with a reason."""
    seconds = (end_ns - start_ns) / 1e9
    missing = [MissingMeter(source="nvml-counter", reason=NO_METER, remedy=REMEDY)]
    if kind == "none":
        return WindowEnergy(start_ns=start_ns, end_ns=end_ns, reason=NO_METER, missing=missing)
    if kind == "modelled":
        return WindowEnergy(
            start_ns=start_ns,
            end_ns=end_ns,
            reason=NO_METER,
            missing=missing,
            modelled_joules=watts * seconds / 10,
            modelled_basis="CPU seconds x 7.5 W per core, assumed",
        )
    joules = watts * seconds
    part = MeterEnergy(
        info=MeterInfo(source="nvml-counter", domain="gpu", device="GPU-0", name="Example GPU", refresh_s=0.1),
        joules=joules,
        uncertainty_joules=0.003 * joules,
        mean_watts=watts,
        disagreement=0.01,
    )
    return WindowEnergy(
        start_ns=start_ns,
        end_ns=end_ns,
        gross_joules=joules,
        gross_joules_uncertainty=0.003 * joules,
        net_joules=joules - 60.0 * seconds,
        idle_watts=60.0,
        source="nvml-counter",
        parts=[part],
        conditions=[
            Conditions(
                at_ns=start_ns + i * 10**7,
                device="GPU-0",
                sm_clock_mhz=1410,
                temperature_c=55,
                power_limit_watts=700,
                other_processes=[],
            )
            for i in range(8)
        ],
    )


def power_of(trial: Trial) -> PowerTimeline:
    """Idle for half a second before and after the window, steady within it."""
    seconds = (trial.window_end_ns - trial.window_start_ns) / 1e9
    step = seconds / 40
    lead = max(1, round(0.5 / step))
    meters = [(part.info, part.mean_watts or 0.0) for part in trial.energy.parts]
    if trial.energy.modelled_joules is not None:
        info = MeterInfo(source="modelled-cpu", domain="cpu-modelled", device="process", measured=False)
        meters.append((info, trial.energy.modelled_joules / seconds))
    return PowerTimeline(
        meters=[
            MeterPower(
                info=info,
                start_ns=trial.window_start_ns - round(lead * step * 1e9),
                step_ns=round(step * 1e9),
                watts=[60.0] * lead + [watts] * 40 + [60.0] * lead,
            )
            for info, watts in meters
        ]
    )


def write_trial(path: Path, cell: TrialCell, trial: Trial, records: list[RequestRecord]) -> Path:
    folder = path / "trials" / f"{cell.block}-{cell.label}-{cell.workload}"
    folder.mkdir()
    write_parquet(Records.of(records).batches(), folder / "requests.parquet")
    (folder / "trial.json").write_text(trial.model_dump_json())
    (folder / "cell.json").write_text(cell.model_dump_json())
    (folder / "power.json").write_text(power_of(trial).model_dump_json())
    return folder


def write_failure(path: Path, cell: TrialCell, error: str) -> None:
    failure = FailedCell(block=cell.block, label=cell.label, workload=cell.workload, error=error)
    (path / "failures" / f"{cell.block}-{cell.label}-{cell.workload}.json").write_text(failure.model_dump_json())
