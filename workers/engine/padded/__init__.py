"""The engine that runs padded batches, for any model."""
