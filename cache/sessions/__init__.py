"""Histories of sessions."""
