"""Which pool answers a request: pools, and experiments between them."""
