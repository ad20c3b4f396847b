"""Requests that may have crashed a worker: remembered, isolated, rejected."""
