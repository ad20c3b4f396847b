"""Requests that end early: cancelled, or past their deadline."""
