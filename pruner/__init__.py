"""From a GLU checkpoint on disk to narrower ones, without loading a model and without torch.

Every error that a user can cause is a `PruneError`.
"""
