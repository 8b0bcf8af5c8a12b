"""Pruning's part that runs the model: what a text feeds the MLPs, for criteria that need activations."""
