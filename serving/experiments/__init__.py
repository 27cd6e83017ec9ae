"""Traffic split between arms."""
