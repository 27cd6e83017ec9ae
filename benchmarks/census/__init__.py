"""The study of bodies and small towers on Census-Income KDD: `python -m benchmarks.census`."""
