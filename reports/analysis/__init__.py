"""A run's cells and what follows from them: energy model, quality, cost, power, roofline."""
