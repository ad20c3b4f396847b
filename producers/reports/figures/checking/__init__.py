"""The check of figures that a text states in digits."""
