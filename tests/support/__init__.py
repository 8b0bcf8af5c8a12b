"""What tests of every room use: a clean environment, processes with imports ready, long forms, late imports."""
