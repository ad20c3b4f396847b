"""What is kept between requests: answers in two tiers (`cache/replies/tiered.py`), leases on making them, histories of
sessions.
"""
