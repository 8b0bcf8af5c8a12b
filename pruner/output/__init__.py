"""The narrower checkpoints: layout, writing, verifying, manifest, model card and upload."""
