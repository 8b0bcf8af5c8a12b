"""Meters become joules over a window, with their source and uncertainty."""
