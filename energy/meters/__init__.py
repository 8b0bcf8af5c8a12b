"""The meters: NVIDIA's NVML, RAPL and energy modelled from CPU time, and the registry that finds them."""
