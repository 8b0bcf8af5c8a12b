"""A checkpoint on disk or on the hub: files, tensors by name, and the anatomy of its MLPs."""
