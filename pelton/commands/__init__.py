"""The bodies of the `pelton` commands, one module for each."""
