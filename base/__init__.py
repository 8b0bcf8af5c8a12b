"""What every room stands on: records, the errors a user can fix, whole-file writes, key files, the clock, free ports, Python processes, paths."""
