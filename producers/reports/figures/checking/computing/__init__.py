"""What the words of a sentence allow to be computed from the facts of its source."""
