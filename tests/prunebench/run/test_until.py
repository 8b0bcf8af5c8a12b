"""`protocol.until` as a user runs it: real processes on the synthetic engine."""

import json

import pytest

from tests.prunebench.conftest import one_at_a_time, one_width

pytestmark = pytest.mark.slow

EXPERIMENT = f"""{one_width("until", prefill_ms=2, token_ms=2)}
[protocol]
until = "+-90% on output_tokens_per_s and joules_per_output_token"
min_blocks = 4
max_blocks = 5
warmup_limit_s = 0
[energy]
idle_s = 0
{one_at_a_time(8, prompt_tokens=8, output_tokens=32)}"""


def test_a_run_ends_by_itself_and_says_in_the_terminal_and_the_report_how_narrow_it_is(prunebench, tmp_path):
    (tmp_path / "until.toml").write_text(EXPERIMENT)
    planned = prunebench("run", "until.toml", "--dry-run")
    assert (
        "then one block at a time until +-90% on output_tokens_per_s and joules_per_output_token, up to 5"
        in planned.stdout
    )
    done = prunebench("run", "until.toml", "--output", "out")
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["adaptive"]["ended"] == ("reached" if info["adaptive"]["settled"] else "max_blocks")
    assert "after 4 blocks, of ±90 %: " in done.stdout
    assert "How its number of blocks was decided" in (tmp_path / "out" / "report.md").read_text("utf-8")
    refused = prunebench("run", "until.toml", "--output", "out", "--resume", "--blocks", "3")
    assert (refused.returncode, "--blocks 3: the run has " in refused.stderr) == (2, True)
    (tmp_path / "until.toml").write_text(EXPERIMENT.replace("+-90%", "+-10%"))
    changed = prunebench("run", "until.toml", "--output", "out", "--resume", "--accept-changes")
    assert changed.returncode == 2
    assert "This is another run" in changed.stderr
