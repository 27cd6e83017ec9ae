"""Bodies: what turns the inputs into the representation that the towers read, one a file."""
