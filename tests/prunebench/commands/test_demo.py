"""The shipped demos on real engines, with fewer repeats: prune, serve, load, measure, report."""

import json
from pathlib import Path

import pytest

from reports.runs.run_folder import RunFolder
from tests.prunebench.conftest import TINYGLU

EXPERIMENTS = TINYGLU.parents[1] / "experiments"

pytestmark = pytest.mark.slow


def shortened(name: str, folder: Path) -> Path:
    """A shipped experiment with one block, two widths, and less to evaluate."""
    text = (EXPERIMENTS / name).read_text().replace("../examples/tinyglu", str(TINYGLU))
    assert "blocks = 5" in text
    for line, shorter in {
        "blocks = 5": "blocks = 1",
        "expansion_ratios = [4.0, 3.6, 3.2, 2.8, 2.4, 2.0, 1.6]": "expansion_ratios = [4.0, 1.6]",
        "max_tokens = 8192": "max_tokens = 2048",
        'tasks = ["offline"]': 'tasks = ["offline"]\nlimit = 2',
    }.items():
        text = text.replace(line, shorter)
    file = folder / name
    file.write_text(text)
    return file


def test_the_demo_takes_a_real_checkpoint_from_pruning_to_the_report(prunebench, tmp_path: Path):
    done = prunebench("run", shortened("demo.toml", tmp_path), "--output", "out", timeout=600, asks_tasks=True)
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "out")
    configurations = run.configurations()
    assert [c.width for c in configurations] == [1024, 410]
    perplexities = [c.quality.perplexity for c in configurations if c.quality and c.quality.perplexity]
    assert len(perplexities) == 2
    assert perplexities[-1] > 1.2 * perplexities[0]  # pruned hard, it has forgotten much
    assert perplexities[-1] < 1000  # an untrained one is at 4,300
    assert {c.engine for c in configurations} == {"transformers"}
    assert len(list(run.trials())) == 4
    (report,) = json.loads((tmp_path / "out" / "report.json").read_text())["runs"]
    assert report["info"]["status"] == "complete"
