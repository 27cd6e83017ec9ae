"""The study of what features of the past bring to ranking: `python -m benchmarks.history`."""
