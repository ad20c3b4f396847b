"""From a record's bytes to tokens and sampling parameters."""
