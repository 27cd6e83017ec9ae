"""The race of ingestion: this transform, a row-at-a-time Beam pipeline and DuckDB on the same two logs, and its scale."""
