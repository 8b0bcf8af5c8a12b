"""The sections of quality: tasks, and held-out text."""
