"""The advice on the first screen, with intervals corrected for many comparisons."""
