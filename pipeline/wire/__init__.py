"""The wire contract: names, headers, bodies and dead letters."""
