"""Endpoints that speak OpenAI's API, behind the interface of an engine."""
