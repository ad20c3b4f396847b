"""From a decoded request to a prompt: rendered, tokenised and held against the limits."""
