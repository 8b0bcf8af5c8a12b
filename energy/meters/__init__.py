"""The meters: NVIDIA's NVML, AMD's SMI, RAPL, the wall and energy modelled from CPU time, and the registry that finds them."""
