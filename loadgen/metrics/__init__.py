"""The trial's figures: window, latencies, throughput, goodput, backlog and warm-up, computed from records."""
