"""How many tokens a text has, where there is no tokenizer to ask."""

FIRST_BYTES_PER_TOKEN = 4.0
"""Of English prose, with the JSON around it."""
LEAST, MOST = 1.0, 16.0
WEIGHT = 0.05
"""Of each answer in the mean: it follows a change of traffic within some tens of answers."""


class TokenEstimate:
    """Bytes by a ratio, which is corrected by what answers say they used. Any thread."""

    def __init__(self) -> None:
        self._bytes_per_token = FIRST_BYTES_PER_TOKEN

    @property
    def bytes_per_token(self) -> float:
        return self._bytes_per_token

    def tokens(self, text: str) -> int:
        """At least 1."""
        return max(1, round(len(text.encode()) / self._bytes_per_token))

    def used(self, text: str, tokens: int) -> None:
        """An endpoint counted so many tokens of a text; 0 where it does not count."""
        if tokens <= 0:
            return
        seen = min(MOST, max(LEAST, len(text.encode()) / tokens))
        self._bytes_per_token += WEIGHT * (seen - self._bytes_per_token)
