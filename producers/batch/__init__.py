"""Batches of requests from files."""
