"""Ratios, intervals, percentiles, correlation and families of comparisons."""
