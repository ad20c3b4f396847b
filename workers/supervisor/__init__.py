"""The parent of worker processes, and what binds the two."""
