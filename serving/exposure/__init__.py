"""The exposure log: what was shown to whom, in the form that ingestion reads as impressions."""
