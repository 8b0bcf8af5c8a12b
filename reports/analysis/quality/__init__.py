"""Scores, perplexity and what they cost, against the baseline."""
