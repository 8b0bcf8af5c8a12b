"""What the server reports of itself: Prometheus metrics, energy counters and the access log."""
