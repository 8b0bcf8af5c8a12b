"""The share of a run's wall time that is measured windows, and why there is none."""

from __future__ import annotations

import json

import pytest

from reports.analysis.wall_time import wall_time
from reports.runs.reading import read_run
from reports.runs.records.cells import Placement
from reports.sections.run import measured_share
from tests.reports.example_run import SINGLE, Example, write_run

SMALL = SINGLE.model_copy(update={"requests": 3})
ELSEWHERE = {(0, width): Placement(host="a", boot_id="1", kind="CPU") for width in (1024, 512)}


def found(folder, wall_s, **facts):
    run = write_run(folder / "run", Example(widths=(1024, 512), workloads=(SMALL,), blocks=1, **facts))
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"wall_s": wall_s}))
    return wall_time(read_run(run))


def test_it_is_the_sum_of_the_windows_over_the_time_of_all_attempts(tmp_path):
    share = found(tmp_path, 100.0)
    assert share.window_s == pytest.approx(sum(t.metrics.window_s for t in read_run(tmp_path / "run").trials))
    assert share.measured_share == share.window_s / 100
    assert (
        measured_share(share) == "The run took 0:01:40 without this report, of which 2 % is measured windows (0:00:02)."
    )


@pytest.mark.parametrize(
    ("wall_s", "facts", "reason"),
    [
        (None, {}, "the run was killed once, or recorded by an earlier version"),
        (0.0, {"status": "running"}, "the run was killed"),
        (9.0, {"placements": ELSEWHERE}, "hosts of a cluster measured side by side"),
    ],
)
def test_without_one_wall_time_there_is_a_reason(tmp_path, wall_s, facts, reason):
    share = found(tmp_path, wall_s, **facts)
    assert (share.wall_s, share.measured_share, share.reason) == (None, None, reason)
    assert measured_share(share) == f"The share of wall time that is measured windows is unknown: {reason}."
