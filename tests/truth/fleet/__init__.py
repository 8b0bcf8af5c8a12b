"""The fleet's simulated replica and its capacity."""
