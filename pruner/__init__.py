"""From a GLU checkpoint on disk to narrower ones, without loading a model and without torch.

Everything other rooms need is named here; every error a user can cause is a `PruneError`.
"""

from pruner.checkpoint.anatomy import Anatomy
from pruner.checkpoint.hub import find_source, source_headers
from pruner.errors import PruneError
from pruner.inspection import Inspection, TargetRow, inspect_checkpoint
from pruner.output.manifest import MANIFEST_NAME, CalibrationText, Criterion, Manifest, TieBreak, WeightCriterion
from pruner.output.publishing import check_push, push
from pruner.prune import PrunedCheckpoint, prune
from pruner.scoring.scoring import Calibration
from pruner.scoring.targets import Target

__all__ = [
    "MANIFEST_NAME",
    "Anatomy",
    "Calibration",
    "CalibrationText",
    "Criterion",
    "Inspection",
    "Manifest",
    "PruneError",
    "PrunedCheckpoint",
    "Target",
    "TargetRow",
    "TieBreak",
    "WeightCriterion",
    "check_push",
    "find_source",
    "inspect_checkpoint",
    "prune",
    "push",
    "source_headers",
]
