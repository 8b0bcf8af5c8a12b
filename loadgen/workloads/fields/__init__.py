"""What the fields of a workload hold: lengths, objectives, a body, and the files that they name."""
