"""From text to numbers and periods."""
