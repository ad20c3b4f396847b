"""Forms that the values of mapped records have: JSON, or what a schema of a registry says."""
