"""Every number that Pelton publishes, one command each."""
