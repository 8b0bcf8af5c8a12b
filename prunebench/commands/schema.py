"""`prunebench schema`: the JSON Schema of experiment files."""

from __future__ import annotations

import sys

from prunebench.experiment.file import experiment_schema


def schema() -> None:
    sys.stdout.write(experiment_schema())
