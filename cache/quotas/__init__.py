"""Quotas of tenants, kept across workers."""
