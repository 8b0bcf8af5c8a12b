"""The bodies that the endpoints take, and the engine's jobs that they become."""
