"""The experiment file: read and checked, what changed since a run began, and the smallest effect it could show."""
