"""Measures of predictions, in NumPy; one family a file, each measure once, under row weights and under resampling of users."""
