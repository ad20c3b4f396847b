"""Kafka as the producers of requests use it."""

from aiokafka.abc import AbstractTokenProvider

from pelton.pipeline.settings.kafka_security import TokenFile

# It is one, but its room knows no client.
AbstractTokenProvider.register(TokenFile)
