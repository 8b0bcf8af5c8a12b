"""Prompts: synthetic token ids, files, and the sources of the published study."""
