"""Partial text, sent ahead of replies to those who want to watch."""
