"""Layers of a model in fewer operations."""
