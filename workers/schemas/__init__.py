"""Schemas of a registry, fetched before the records that name them are read."""
