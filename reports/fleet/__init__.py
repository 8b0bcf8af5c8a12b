"""`prunebench plan`: replicas, GPUs, energy and cost for a demand."""
