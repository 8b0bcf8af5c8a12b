"""The run folder: chosen, created or reopened, written, and what a resumed run finds in it."""
