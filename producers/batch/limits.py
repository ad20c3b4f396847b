"""What a batch may take of others: so many requests a second, so many tokens in all."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from pelton.producers.replies import Reply

BYTES_PER_TOKEN = 4
FIRST_ANSWER_TOKENS = 512
"""Assumed of an answer until the first has come: as many as workers allow where a request sets no limit."""


class Pace:
    """Lets through so many a second, evenly; what was not used is not saved."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = 1 / per_s
        self._clock = clock
        self._next = clock()

    async def wait(self) -> None:
        wait_s = self._next - self._clock()
        self._next = max(self._next, self._clock()) + self._gap_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)


class TokenCap:
    """Reserves tokens for what is sent, and puts in their place what the answers used.

    What a request will use is estimated by what answers have used before, on average.
    """

    def __init__(self, most: int, used: int = 0, answers: int = 0) -> None:
        self.most = most
        self.used = used
        self._answers = answers
        self._reserved: dict[int, int] = {}
        self._in_reserve = 0

    def admits(self, size: int) -> bool:
        """Whether a request with a body of `size` bytes is likely to stay within the cap."""
        return self.used + self._in_reserve + self._expected(size) <= self.most

    def sent(self, line: int, size: int) -> None:
        self._reserved[line] = self._expected(size)
        self._in_reserve += self._reserved[line]

    def answered(self, line: int, tokens: int) -> None:
        """An error has used none."""
        self._in_reserve -= self._reserved.pop(line, 0)
        self.used += tokens
        self._answers += tokens > 0

    def _expected(self, size: int) -> int:
        if self._answers:
            return -(-self.used // self._answers)
        return size // BYTES_PER_TOKEN + FIRST_ANSWER_TOKENS

    @classmethod
    def going_on(cls, most: int, output: Path) -> "TokenCap":
        """With what the answers in an output have used; a line that cannot be read has used nothing."""
        cap = cls(most)
        if output.exists():
            with output.open("rb") as file:
                for raw in file:
                    cap.answered(0, _tokens_of_line(raw))
        return cap


def tokens_of(reply: Reply) -> int:
    """What a reply has used; 0 for an error."""
    return _tokens(reply.value)


def _tokens_of_line(raw: bytes) -> int:
    try:
        body = orjson.loads(raw)["response"]["body"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return 0
    return _total(body)


def _tokens(value: bytes) -> int:
    try:
        return _total(orjson.loads(value))
    except orjson.JSONDecodeError:
        return 0


def _total(body: object) -> int:
    usage = body.get("usage") if isinstance(body, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and total > 0 else 0
