"""Checkpoints that others have quantised: which formats are read, and how their weights become a model's."""
