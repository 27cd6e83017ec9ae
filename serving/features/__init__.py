"""Features of users and items at the time of a request."""
