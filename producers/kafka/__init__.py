"""Kafka as the producers of requests use it."""
