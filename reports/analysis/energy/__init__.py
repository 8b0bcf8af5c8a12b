"""Joules, watts and what they depend on."""
