"""The engine's thread and what surrounds a step."""
