"""The job service: jobs in, sections out to the workers and back, results out, with all state in Kafka."""
