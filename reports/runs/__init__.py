"""Reading a run folder or a load's folder back into records."""
