"""Runs whose results decide their number of blocks. Trials are made up here; a whole run on a server is in test_until.py."""

import io

import numpy as np
import pytest

from prunebench.experiment.file import ExperimentError
from prunebench.experiment.resolve import load_experiment
from prunebench.run.adaptive import check_goal
from prunebench.run.configurations import check_configurations
from prunebench.run.folder.resume import extended
from prunebench.run.folder.run_writer import RunWriter, cell_name
from prunebench.run.runner import Runner
from reports.analysis.analyse import analyse_folder
from reports.analysis.order import imbalance
from reports.document.console import Console
from reports.document.markdown import render_markdown
from reports.sections.contents import run_article
from tests.prunebench.conftest import TINYGLU
from tests.reports.example_run import EPOCH_NS, Example, Truth, measure, offer, write_trial

PROTOCOL = """until = "+-5% on tpot"
min_blocks = 3
max_blocks = 15"""
EXPERIMENT = f"""
name = "until"
seed = 3
[model]
source = "{TINYGLU}"
[prune]
expansion_ratios = [3.0, 2.0]
[serve]
engine = "synthetic"
[protocol]
{PROTOCOL}
[[workloads]]
name = "one"
kind = "single"
requests = 3
prompt_tokens = 8
output_tokens = 8
"""
NOISE = {"width-1024": 0.002, "width-768": 0.002, "width-512": 0.03}


def loaded(folder, text):
    file = folder / "until.toml"
    file.write_text(text)
    return load_experiment(file)


class MadeUp:
    """Trials with a known spread in place of a bench."""

    def __init__(self, assignment, places, failing):
        self.assignment, self._places, self.blocks, self.rounds = assignment, places, [], []
        self._failing = failing

    def places(self):
        return self._places

    def measure(self, visits, steps):
        own = {}
        for visit in visits:
            own.setdefault(visit.block, []).append(visit.label)
        self.blocks += own.values()
        self.rounds.append(list(own))
        workload = self.assignment.experiment.workloads[0]
        for visit in visits:
            if visit.label in self._failing:
                continue
            info = self.assignment.configurations[visit.label]
            rng = np.random.default_rng([visit.block, info.width])
            slowness = float(np.exp(NOISE[visit.label] * rng.standard_normal()))
            for cell in visit.cells:
                records = offer(workload, Truth(20.0, 10.0), slowness, EPOCH_NS, rng, 0.0)
                trial = measure(Example(energy="none", widths=(1024, 768, 512)), info.width, workload, records)
                folder = write_trial(self.assignment.writer.path, cell, trial, records)
                folder.rename(folder.with_name(cell_name(cell)))
                steps.advance(1, visit.label)

    def finish(self):
        """Nothing."""

    def ask(self, console):
        return True

    def close(self):
        """Nothing."""


@pytest.fixture
def attempt(tmp_path):
    """One attempt at the run in the same folder, with some of the experiment's text replaced; returns its executor and its output."""

    def run(*replaced, blocks=None, places=1, failing=()):
        text = EXPERIMENT
        for before, after in replaced:
            assert before in text
            text = text.replace(before, after)
        writer = RunWriter(tmp_path / "out")
        begun = writer.begun()
        experiment = extended(loaded(tmp_path, text), begun, blocks)
        if begun is None:
            writer.create(experiment, text)
        made, out = [], io.StringIO()

        def executor(assignment):
            made.append(MadeUp(assignment, places, failing))
            return made[0]

        Runner(experiment, writer, Console(file=out, width=200), executor).run()
        return made[0], out.getvalue()

    return run


def test_blocks_are_added_until_every_ratio_is_known_and_a_known_configuration_is_left_out(attempt, tmp_path):
    executor, out = attempt()
    analysis = analyse_folder(tmp_path / "out")
    info = analysis.info
    assert info.adaptive.ended == "reached"
    assert 3 <= info.adaptive.settled["width-768"] < info.adaptive.settled["width-512"] == info.blocks < 15
    assert info.looks == tuple(range(3, info.blocks + 1))
    taken = [{trial.block for trial in analysis.trials if trial.label == label} for label in info.labels]
    assert taken == [set(range(info.blocks_of(label))) for label in info.labels]
    assert info.blocks_of("width-1024") == info.blocks
    assert len(executor.blocks) == info.blocks
    assert all(one.half_width <= 0.05 for one in analysis.precision)
    assert imbalance(analysis.trials, "width-1024") < 0.1
    lines = [line for line in out.splitlines() if line.startswith("after ")]
    assert len(lines) == info.blocks - 2
    assert lines[0].startswith("after 3 blocks, of ±5 %: width-768 ±")
    assert "; 1 settled; about " in lines[-2]
    assert lines[-1] == f"after {info.blocks} blocks, of ±5 %: 2 settled"


def test_the_report_says_how_the_run_ended_and_how_narrowly_each_ratio_is_known(attempt, tmp_path):
    attempt()
    analysis = analyse_folder(tmp_path / "out")
    text = render_markdown([run_article(analysis, "run-1")], None)
    assert f"it ended when every ratio was known that narrowly, after {analysis.info.blocks} blocks; 2 of 2" in text
    assert "the first after " in text
    assert "Order balanced: a linear drift of 1 % per block shifts a ratio to the baseline by up to 0." in text
    assert "would be balanced" not in text


@pytest.mark.parametrize(("failing", "blocks"), [({"width-512"}, range(3, 15)), ({"width-1024"}, [3])])
def test_a_configuration_that_fails_in_every_block_does_not_keep_the_run_going(failing, blocks, attempt, tmp_path):
    executor, out = attempt(failing=failing)
    info = analyse_folder(tmp_path / "out").info
    assert info.adaptive.ended == "failed"
    assert out.count("; ended: what is not known has failed in every block\n") == 1
    assert info.blocks in blocks
    assert all(failing <= set(block) for block in executor.blocks), "it is tried again in every block there is"


def test_a_run_that_reached_its_goal_measures_nothing_when_it_is_resumed(attempt):
    attempt()
    executor, _ = attempt()
    assert executor.blocks == []


def test_a_run_ends_at_its_most_blocks_and_goes_on_with_more_of_them(attempt, tmp_path):
    _, out = attempt(("max_blocks = 15", "max_blocks = 4"))
    assert out.count("; ended at max_blocks\n") == 1
    before = analyse_folder(tmp_path / "out").info
    assert (before.blocks, before.adaptive.ended) == (4, "max_blocks")
    executor, _ = attempt(("max_blocks = 15", "max_blocks = 4"), blocks=6)
    after = analyse_folder(tmp_path / "out").info
    assert (after.blocks, after.adaptive.ended, after.extensions) == (6, "max_blocks", ())
    assert len(executor.blocks) == 2


def test_blocks_that_are_measured_side_by_side_end_together_before_the_next_look(attempt, tmp_path):
    executor, out = attempt(("max_blocks = 15", "max_blocks = 6"), ("+-5% on", "+-0.1% on"), places=2)
    info = analyse_folder(tmp_path / "out").info
    assert executor.rounds == [[0, 1], [2], [3, 4], [5]]
    assert (info.blocks, info.adaptive.ended) == (6, "max_blocks")
    assert [line.split(",")[0] for line in out.splitlines() if line.startswith("after ")] == [
        "after 3 blocks", "after 5 blocks", "after 6 blocks",
    ]  # fmt: skip


def test_no_block_begins_that_would_end_past_the_time_and_another_attempt_has_its_own(attempt, tmp_path):
    short = ("max_blocks = 15", "max_hours = 1e-9")
    _, out = attempt(short)
    info = analyse_folder(tmp_path / "out").info
    assert (info.blocks, info.adaptive.ended) == (3, "max_hours")
    assert " more blocks; ended: another block would take it past max_hours\n" in out, "which a run says itself"
    attempt()
    assert analyse_folder(tmp_path / "out").info.adaptive.ended == "reached"


def test_a_quantity_that_no_trial_has_ends_the_run_after_its_first_block(attempt, tmp_path):
    with pytest.raises(ExperimentError) as caught:
        attempt(("on tpot", "on tpot and joules_per_output_token"))
    assert str(caught.value).startswith(
        "protocol.until: joules_per_output_token cannot be measured here: no NVIDIA driver"
    )
    assert len(analyse_folder(tmp_path / "out").trials) == 3


@pytest.mark.parametrize(
    ("goal", "energy", "said"),
    [
        ("joules_per_output_token", 'source = "none"', "joules_per_output_token cannot be measured here: energy.source is none"),
        ("modelled_joules_per_request", "idle_s = 0", "cannot be measured here: energy.modelled_watts_per_core is not set"),
    ],
)  # fmt: skip
def test_joules_that_nothing_measures_are_refused_before_there_is_a_folder(tmp_path, goal, energy, said):
    experiment = loaded(tmp_path, EXPERIMENT.replace("on tpot", f"on {goal}") + f"[energy]\n{energy}\n")
    with pytest.raises(ExperimentError, match=said):
        check_goal(experiment, check_configurations(experiment))


CONTRADICTIONS = {
    'until = "+-5% on tpot"\nblocks = 7': "blocks: with until give min_blocks and max_blocks instead",
    'until = "+-5% on tpot"\nmin_blocks = 3\nmax_blocks = 2': "max_blocks: must be at least min_blocks, which is 3",
    "min_blocks = 3\nmax_blocks = 15": "min_blocks belongs to until, which is missing",
    'until = "+-5% on tpod"': "no quantity tpod; did you mean tpot[?]",
}


@pytest.mark.parametrize(("protocol", "said"), CONTRADICTIONS.items())
def test_a_protocol_that_contradicts_itself_is_named(tmp_path, protocol, said):
    with pytest.raises(ExperimentError, match=said):
        loaded(tmp_path, EXPERIMENT.replace(PROTOCOL, protocol))


def test_it_begins_with_its_fewest_blocks(tmp_path):
    assert loaded(tmp_path, EXPERIMENT).protocol.blocks == 3
