"""Simulated servers, meters and runs whose truth does not come from the product's code.

Each file simulates one kind of estimator and registers what it should come to (`registry.simulation`). `make test` runs a
short version of every simulation; `python -P -m tests.truth` runs the long one and writes the table of docs/reference/estimators.md.
"""
