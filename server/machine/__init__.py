"""The host that serves: CPU affinity and memory."""
