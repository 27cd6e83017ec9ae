"""Skew watch: what a service served and predicted, against what its version was trained on."""
