"""What workers and producers have in common as clients of Kafka."""
