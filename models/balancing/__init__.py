"""Weights of the tasks' losses, chosen anew in every step: one published method a file."""
