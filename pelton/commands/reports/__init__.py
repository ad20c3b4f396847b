"""`pelton report` and `pelton reports …`."""
