"""From a user and candidates to an ordered list."""
