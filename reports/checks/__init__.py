"""The validity checks: a rule and its finding, for trials, energy and whole runs.

A package is imported before its modules, so whoever sees one rule sees all of them.
"""

from reports.checks import client, concurrency, devices, energy, run, servers, tokens, trial  # noqa: F401 - registers them
