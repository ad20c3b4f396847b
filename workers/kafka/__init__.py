"""Reading Kafka's records as they are, and not only as they should be."""
