"""One module a subcommand of `smalltowers`: what it does between configuration and terminal."""
