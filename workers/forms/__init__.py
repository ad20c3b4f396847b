"""The form that an answer is held to, and what is left to check when the answer is there."""
