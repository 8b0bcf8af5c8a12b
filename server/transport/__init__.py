"""Sockets: timeouts, limits, and writes batched by event-loop pass."""
