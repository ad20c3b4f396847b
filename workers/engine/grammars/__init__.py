"""Answers held to a grammar: what a grammar is made from, where an answer is in it, which tokens it admits next."""
