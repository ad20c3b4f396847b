"""Kept replies in two tiers (`tiered.py`), and leases on making them."""
