"""The producers' Kafka clients."""
