"""One text out of pieces that may come late, twice, from two attempts or not at all, and of the answer that counts."""

from pelton.producers.kafka.delta_reader import Delta


class LiveText:
    """What has been passed on is never taken back: from then on only what continues it is."""

    def __init__(self) -> None:
        self._passed_on = ""
        self._attempts: dict[int, str | None] = {}

    def piece(self, delta: Delta) -> str:
        """What a piece adds to what was passed on; empty where it adds nothing."""
        text = self._attempts.get(delta.attempt, "")
        if text is None or delta.at < len(text):
            return ""
        if delta.at > len(text):  # a piece is missing: what comes behind it cannot be joined
            self._attempts[delta.attempt] = None
            return ""
        self._attempts[delta.attempt] = text + delta.content
        return self.rest(text + delta.content) or ""

    def rest(self, text: str) -> str | None:
        """What is missing of `text`; None where it is not what was passed on that goes on there."""
        if not text.startswith(self._passed_on):
            return None
        rest, self._passed_on = text[len(self._passed_on) :], text
        return rest
