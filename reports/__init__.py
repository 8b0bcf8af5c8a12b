"""Records become statistics, validity checks and a report."""
