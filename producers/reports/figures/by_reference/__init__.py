"""References in text: their grammar, their computation, their rendering."""
