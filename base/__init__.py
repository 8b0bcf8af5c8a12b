"""What every room stands on: records, the errors a user can fix, whole-file writes, and key files."""
