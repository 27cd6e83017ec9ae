"""One module a log layout; each turns raw files into the contract of `data.schema`."""
