"""How a load is measured: windows, warm-up, backlog, sweeps, tokens."""
