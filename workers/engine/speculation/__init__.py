"""Tokens guessed from a request's own text, and verified together with the token that is due."""
