"""Joules by prompt and output token, power at rest, power over time."""
