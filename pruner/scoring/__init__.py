"""Which neurons stay: targets, criteria, scores and selection."""
