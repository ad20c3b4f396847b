"""`pelton dlt`: dead letters listed, shown and replayed."""
