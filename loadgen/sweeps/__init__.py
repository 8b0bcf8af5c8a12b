"""The search of a sweep for the saturation rate."""
