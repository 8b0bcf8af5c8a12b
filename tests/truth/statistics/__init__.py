"""Ratios, families of comparisons, percentiles, failures and quality."""
