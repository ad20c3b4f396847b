"""From a fetched record to an admitted request."""
