"""Gradient-boosted trees on the rows and columns of `benchmarks.census`: how much those columns can tell."""
