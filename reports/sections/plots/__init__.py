"""The plots of a run: ratios, distributions, Pareto fronts, trials in their order."""
