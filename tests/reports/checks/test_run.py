"""Each rule of a run on a run that trips it and on one that does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadgen.workloads.base import Workload
from reports.checks.findings import check_run
from reports.runs.reading import read_run
from reports.runs.records.cells import Placement
from tests.reports.example_run import SINGLE, Example, write_run

SHORT = SINGLE.model_copy(update={"requests": 2})
PAIR = (1024, 512)


def outcomes(path: Path, check: str, label: str = "width-512") -> list[str]:
    return [f.finding.outcome for f in check_run(read_run(path))[check] if f.label == label]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_run(tmp_path / "clean", Example(widths=PAIR, workloads=(SHORT,)))


def test_five_paired_blocks_are_enough(clean):
    assert outcomes(clean, "too-few-repeats") == ["pass"]
    assert outcomes(clean, "baseline-missing") == ["pass"]


@pytest.mark.parametrize(("blocks", "expected"), [(4, "warn"), (1, "fail")])
def test_fewer_blocks_are_too_few_repeats(tmp_path, blocks, expected):
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), blocks=blocks))
    assert outcomes(run, "too-few-repeats") == [expected]


def test_a_block_without_its_baseline_warns(tmp_path):
    missing = frozenset({(2, 1024, SHORT.name)})
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), missing=missing))
    [found] = check_run(read_run(run))["baseline-missing"]
    assert (found.finding.outcome, found.finding.reason) == ("warn", "no baseline in block 3")


def test_a_run_without_its_baseline_fails(tmp_path):
    missing = frozenset((b, 1024, SHORT.name) for b in range(5))
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), missing=missing))
    assert outcomes(run, "baseline-missing") == ["fail"]
    assert outcomes(run, "too-few-repeats") == []


def test_odd_widths_are_unaligned_and_named_with_an_aligned_neighbour(tmp_path):
    run = write_run(tmp_path / "run", Example(widths=(8192, 7373, 6552), workloads=(SHORT,), blocks=1))
    found = {f.label: f.finding for f in check_run(read_run(run))["width-unaligned"]}
    assert found["width-8192"].outcome == "pass"
    assert found["width-7373"].reason == "7373 is not a multiple of 8; 7360 is one of 64"
    assert found["width-6552"].reason == "6552 is not a multiple of 64; 6528 is one of 64"
    assert {found[label].outcome for label in ("width-7373", "width-6552")} == {"warn"}


def test_another_engine_option_than_the_baselines_fails(tmp_path, clean):
    options = {512: {"dtype": "float16", "slots": "4"}}
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), blocks=1, engine_options=options))
    [found] = check_run(read_run(run))["engine-differs"]
    assert found.finding.outcome == "fail"
    assert found.finding.reason == "dtype is float16, not float32; slots is 4, not None"
    assert outcomes(clean, "engine-differs") == ["pass"]


@pytest.mark.parametrize(("joules", "expected"), [(120.0, "pass"), (150.0, "warn")])
def test_idle_power_far_from_the_baselines_drifts(clean, joules, expected):
    file = clean / "configurations" / "width-512.json"
    configuration = json.loads(file.read_text())
    configuration["idle"]["gross_joules"] = joules  # over two seconds; the baseline has 120 J
    file.write_text(json.dumps(configuration))
    found = [f for f in check_run(read_run(clean))["idle-drift"] if f.block is None]
    assert [f.finding.outcome for f in found] == [expected]


@pytest.mark.parametrize(("joules", "expected"), [(125.0, "pass"), (150.0, "warn"), (0.0, "warn")])
def test_idle_power_that_changes_over_the_trials_drifts(clean, joules, expected):
    file = clean / "configurations" / "width-512.json"
    configuration = json.loads(file.read_text())
    configuration["idle_again"] = {**configuration["idle"], "gross_joules": joules}  # 120 J before them
    file.write_text(json.dumps(configuration))
    found = [f.finding for f in check_run(read_run(clean))["idle-drift"] if f.block is None]
    assert expected in [f.outcome for f in found if "after its last trial" in f.reason]


def test_models_that_stop_at_other_lengths_are_flagged(tmp_path):
    """The published study's trap: 19 tokens against the baseline's 5 were read as a latency penalty."""
    verbose = LengthByWidth(widths=PAIR, workloads=(SHORT.model_copy(update={"natural_stop": True}),), blocks=2)
    run = write_run(tmp_path / "run", verbose)
    [found] = check_run(read_run(run))["output-length-differs"]
    assert (found.finding.outcome, found.label) == ("warn", "width-512")
    assert found.finding.reason == "19.0 tokens a request on average, the baseline 5.0"


def test_models_that_stop_at_the_same_length_pass(tmp_path):
    natural = SHORT.model_copy(update={"natural_stop": True})
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(natural,), blocks=2))
    assert outcomes(run, "output-length-differs") == ["pass"]


class LengthByWidth(Example):
    """The baseline stops after 5 tokens, a pruned model after 19."""

    def offered(self, width: int, workload: Workload) -> Workload:
        return workload.model_copy(update={"output_tokens": 5 if width == self.widths[0] else 19})


HOST = Placement(host="node-1", boot_id="1", kind="Example CPU, H100", gpus=["GPU-1"])
OTHER_GPU = HOST.model_copy(update={"gpus": ["GPU-2"]})
OTHER_KIND = Placement(host="node-2", boot_id="2", kind="Example CPU, L4", gpus=["GPU-3"])
CROWDED = HOST.model_copy(update={"beside": ["block 2"]})


def placed(tmp_path: Path, *pairs: tuple[Placement | None, Placement | None]) -> Path:
    """A run of as many blocks, of each of which the baseline and the other configuration had these places."""
    places = {(block, width): p for block, pair in enumerate(pairs) for width, p in zip(PAIR, pair, strict=True) if p}
    example = Example(widths=PAIR, workloads=(SHORT,), blocks=len(pairs), placements=places)
    return write_run(tmp_path / "run", example)


@pytest.mark.parametrize(
    ("pairs", "outcome", "says"),
    [
        ([(HOST, HOST), (OTHER_GPU, OTHER_GPU)], "pass", "2 pairs, each on one host and the same GPUs"),
        ([(HOST, HOST), (HOST, OTHER_GPU)], "warn", "block 2 on GPU-2, and the baseline on GPU-1"),
        ([(HOST, OTHER_KIND), (OTHER_KIND, HOST)], "fail", "blocks 1, 2 on Example CPU, L4, and the baseline on"),
        (
            [(HOST, HOST), (OTHER_KIND, OTHER_KIND)],
            "warn",
            "each pair is on one host, but blocks are on different kinds",
        ),
        ([(HOST, HOST), (None, None)], "pass", "1 pair,"),
    ],
)
def test_pairs_and_blocks_on_different_hosts_are_distinguished(tmp_path, pairs, outcome, says):
    [found] = check_run(read_run(placed(tmp_path, *pairs)))["hosts-differ"]
    assert (found.label, found.finding.outcome) == ("width-512", outcome)
    assert found.finding.reason.startswith(says)


def test_a_trial_that_shared_its_host_is_marked_and_one_that_was_alone_is_not(tmp_path):
    run = read_run(placed(tmp_path, (HOST, CROWDED)))
    found = {f.label: f.finding for f in check_run(run)["host-shared"]}
    assert found["width-1024"].outcome == "pass"
    assert (found["width-512"].outcome, found["width-512"].reason) == ("warn", "block 2 ran on node-1 at the same time")


def test_a_run_on_one_machine_has_no_findings_about_hosts(clean):
    found = check_run(read_run(clean))
    assert (found["host-shared"], found["hosts-differ"]) == ([], [])


@pytest.mark.parametrize(("size", "missing"), [("2", True), ("1", False)])
def test_an_engine_on_more_gpus_than_were_metered_has_joules_missing(tmp_path, size, missing):
    options = {512: {"tensor_parallel_size": size}}
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), blocks=1, engine_options=options))
    found = [f.finding.reason for f in check_run(read_run(run))["energy-missing"] if f.finding.outcome == "fail"]
    assert found == (["the engine uses 2 GPUs, and 1 was metered"] if missing else [])
