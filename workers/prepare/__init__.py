"""From a fetched record to what an engine can run."""
