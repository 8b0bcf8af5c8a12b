"""Servers started and stopped: as child processes, kept side by side, or on another host."""
