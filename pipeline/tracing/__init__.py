"""Traces: spans of a request's way, kept where `pelton[otel]` is installed and `traces.enabled` is set."""
