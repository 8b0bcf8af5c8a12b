"""Calibration: a text and the activations that it causes, which weight the scores of some criteria."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from base.records import Record
from pruner.checkpoint.anatomy import Anatomy

Norms = Mapping[str, NDArray[np.floating[Any]]]  # MLP prefix -> L2 norm of what each neuron feeds its down projection


class CalibrationText(Record):
    """The text whose activations weight the neurons, and how it was run through the model."""

    name: str  # of the file
    sha256: str
    tokens: int  # run through the model, start tokens included
    sequence_tokens: int  # longest sequence, start token included
    dtype: str  # of weights and computation, e.g. "bfloat16"
    measured_with: dict[str, str]  # versions of torch and transformers, and the device


class Calibration(Protocol):
    """Runs a text through the model, for calibrated criteria. The pruner itself never does, and so needs no torch."""

    @property
    def record(self) -> CalibrationText:
        """Its entry in the manifest; known before the model runs."""

    def norms(self, anatomy: Anatomy) -> Norms:
        """Run it. Raises PruneError if the model cannot be run."""
