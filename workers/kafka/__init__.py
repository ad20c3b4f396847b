"""The worker's Kafka clients."""
