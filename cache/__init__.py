"""What is kept between requests: answers in two tiers (`tiered.py`), leases on making them, histories of sessions."""
