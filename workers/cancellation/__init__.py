"""Requests that leave before they are answered."""
