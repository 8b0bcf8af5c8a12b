"""A run from folder to report: schedule, bench, runner, resume, and everything written to the run folder."""
