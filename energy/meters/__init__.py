"""What can be read: NVIDIA's NVML, RAPL, the synthetic engine's curve, and energy modelled from CPU time."""
