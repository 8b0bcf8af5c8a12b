from __future__ import annotations

from energy.records import IdleWindow
from prunebench.run.folder.run_writer import RunWriter
from reports.runs.records.cells import VisitIdle
from reports.runs.run_folder import RunFolder
from tests.reports.example_run import window_energy


def test_a_cell_that_is_measured_again_alone_leaves_the_idle_power_of_the_visits_other_cells(tmp_path):
    writer = RunWriter(tmp_path)
    writer.make_folders()
    window = IdleWindow(whole=window_energy("nvml", 70.0, 0, 2 * 10**9), first_half_joules=70.0)
    visit = VisitIdle(block=0, label="width-512", workloads=["single", "batch"], before=window)
    whole = writer.new_idle(visit)
    writer.write_idle(whole.model_copy(update={"after": window}))
    again = writer.new_idle(visit.model_copy(update={"workloads": ["single"]}))
    kept = RunFolder(tmp_path).idles()
    assert [(idle.workloads, idle.attempt) for idle in kept] == [(["single"], 2), (["single", "batch"], 1)]
    assert again.attempt == 2
    assert next(idle for idle in kept if idle.attempt == 1).after == window
