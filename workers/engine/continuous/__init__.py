"""The engine that batches continuously."""
