"""What several commands use: tables, words for times, and a Kafka that has to be there."""
