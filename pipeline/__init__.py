"""The contract and the rules: everything both sides agree on, with no socket and no tensor in it."""
