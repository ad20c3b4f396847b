"""An engine that keeps time but computes nothing."""
