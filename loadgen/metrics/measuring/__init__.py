"""How records become the figures of a trial: arrivals, gaps and generations, a batch of rows at a time."""
