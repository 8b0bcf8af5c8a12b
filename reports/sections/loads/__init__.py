"""Sections of loads: of one load, its percentiles, a sweep, and throughput against latency."""
