"""What experiments have shown, from the committed replies."""
