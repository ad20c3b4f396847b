"""Requests sent on to the pool that is to answer them: by model, by experiment, by backlog."""
