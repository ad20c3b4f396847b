"""From a result to committed records."""
