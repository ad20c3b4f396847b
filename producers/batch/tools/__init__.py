"""What can be done with batch files before and after they are sent."""
