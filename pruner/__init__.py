"""From a GLU checkpoint on disk to narrower ones, without loading a model and without torch.

Everything other rooms need is named here; every error a user can cause is a `PruneError`.
"""

from pruner.errors import PruneError
from pruner.inspection import Inspection, TargetRow, inspect_checkpoint
from pruner.manifest import MANIFEST_NAME, Criterion, Manifest, TieBreak
from pruner.prune import PrunedCheckpoint, prune
from pruner.targets import Target

__all__ = [
    "MANIFEST_NAME",
    "Criterion",
    "Inspection",
    "Manifest",
    "PruneError",
    "PrunedCheckpoint",
    "Target",
    "TargetRow",
    "TieBreak",
    "inspect_checkpoint",
    "prune",
]
