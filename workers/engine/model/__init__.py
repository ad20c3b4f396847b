"""Models found, checked and loaded."""
