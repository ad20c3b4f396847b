"""One request while it runs: its tokens so far, its pages, and how far its keys and values are computed."""

import numpy as np
from numpy.typing import NDArray

from workers.engine.api import EngineRequest
from workers.engine.pages import page_digests


class Sequence:
    """The scheduler's view of a request. `computed` of its `length` tokens have keys and values in `pages`;
    `cached` of its prompt tokens came from the prefix cache.

    `order` decides who goes first where not all can: by priority, highest first, then by arrival.
    """

    __slots__ = (
        "_digests", "_salt", "_tokens", "cached", "computed", "id", "length", "order", "pages", "prompt_length"
    )  # fmt: skip

    def __init__(self, request: EngineRequest, arrival: int) -> None:
        self.id = request.id
        self.order = (-request.priority, arrival)
        self.prompt_length = self.length = len(request.prompt)
        self.computed = 0
        self.cached = 0
        self.pages: list[int] = []
        self._tokens = np.empty(self.length + request.params.max_tokens, dtype=np.int64)
        self._tokens[: self.length] = request.prompt
        self._salt = request.cache_salt.encode()
        self._digests: list[bytes] = []

    @property
    def capacity(self) -> int:
        """The length it may grow to."""
        return len(self._tokens)

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Prompt and generated tokens: a view that later tokens do not change."""
        return self._tokens[: self.length]

    @property
    def generated(self) -> NDArray[np.int64]:
        return self._tokens[self.prompt_length : self.length]

    @property
    def pending(self) -> int:
        """Tokens still to compute; 1 is a decode (or a prompt's last token), 0 never stays."""
        return self.length - self.computed

    def append(self, token: int) -> None:
        self._tokens[self.length] = token
        self.length += 1

    def digests(self, page_size: int) -> list[bytes]:
        """The digests of all full pages of the tokens so far; kept and continued as the sequence grows."""
        if self.length // page_size > len(self._digests):
            self._digests.extend(page_digests(self.tokens, page_size, self._salt, self._digests))
        return self._digests
