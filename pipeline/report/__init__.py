"""The report of a run: what happened, as one HTML page."""
