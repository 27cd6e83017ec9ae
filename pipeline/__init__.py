"""The composition root: configuration, command line, the TFX graph and its runners."""
