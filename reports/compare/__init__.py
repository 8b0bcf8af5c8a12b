"""Two runs side by side: ratios between runs, what differs, and the gate of `--fail-over`."""
