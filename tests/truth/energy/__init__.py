"""Joules: meters, lines through trials, costs."""
