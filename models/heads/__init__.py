"""Heads: what a tower's output means, how it is trained and what is served for it; one kind a file."""
