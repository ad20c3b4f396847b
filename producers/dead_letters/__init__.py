"""Dead letters: read, chosen and replayed."""
