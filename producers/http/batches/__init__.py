"""Batches of requests over HTTP: their state is in Kafka, their files are in the storage."""
