"""What travels on topics: bodies and headers as senders and readers see them."""
