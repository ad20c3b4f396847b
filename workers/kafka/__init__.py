"""Reading Kafka's records as they are, and not only as they should be."""

from aiokafka.abc import AbstractTokenProvider

from pelton.pipeline.settings.kafka_security import TokenFile

# It is one, but its room knows no client.
AbstractTokenProvider.register(TokenFile)
