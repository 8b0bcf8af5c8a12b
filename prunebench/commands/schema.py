"""`prunebench schema`: the JSON Schema of experiment files."""

from __future__ import annotations

import json
import sys

from prunebench.experiment.file import Experiment
from prunebench.terminal.command_help import examples


@examples(
    (
        "Beside an experiment file, whose first line is then #:schema experiment.schema.json",
        "prunebench schema > experiment.schema.json",
    ),
)
def schema() -> None:
    sys.stdout.write(experiment_schema())


def experiment_schema() -> str:
    """The JSON Schema of an experiment file, for editors; it lies beside the shipped ones as experiment.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
