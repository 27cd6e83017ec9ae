"""Layers of the ranker, one public layer a file."""
