"""One request while it runs: its tokens so far, its pages, and how far its keys and values are computed."""

import numpy as np
from numpy.typing import NDArray

from pelton.workers.engine.api import EngineRequest
from pelton.workers.engine.scheduling.page_pool import page_digests


class SequenceState:
    """The scheduler's view of a request. `computed` of its `length` tokens have keys and values in `pages`;
    `cached` of its prompt tokens came from the prefix cache.

    Of its tokens `known` have been seen by the host; the newest may still be on its way from the device (`reserve`,
    then `settle`), and its keys and values may be computed meanwhile. `order` decides who goes first where not all can:
    by priority, highest first, then by arrival. `stays` counts how often it has given its pages back.
    """

    __slots__ = (
        "_chosen_by_text", "_digests", "_salt", "_tokens", "cached", "computed", "id", "known", "length", "order",
        "pages", "prompt_length", "stays",
    )  # fmt: skip

    def __init__(self, request: EngineRequest, arrival: int) -> None:
        self.id = request.id
        self.order = (-request.priority, arrival)
        self.prompt_length = self.length = self.known = len(request.prompt)
        self.computed = 0
        self.stays = 0
        self.cached = 0
        self.pages: list[int] = []
        self._tokens = np.empty(self.length + request.params.max_tokens, dtype=np.int64)
        self._tokens[: self.length] = request.prompt
        self._salt = request.cache_salt.encode()
        self._digests: list[bytes] = []
        self._chosen_by_text = request.chosen_by_text

    @property
    def priority(self) -> int:
        """The higher, the sooner it goes."""
        return -self.order[0]

    @property
    def capacity(self) -> int:
        """The length it may grow to."""
        return len(self._tokens)

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Prompt and generated tokens: a view that later tokens do not change. Those beyond `known` mean nothing."""
        return self._tokens[: self.length]

    @property
    def generated(self) -> NDArray[np.int64]:
        return self._tokens[self.prompt_length : self.known]

    @property
    def ready(self) -> bool:
        """Whether there is a token to come whose computation needs nothing that is still on its way.

        A token on its way is on the device already, so the next one can be computed behind it; unless its choice goes
        by the text so far.
        """
        return self.length < self.capacity and (self.known == self.length or not self._chosen_by_text)

    @property
    def pending(self) -> int:
        """Tokens still to compute; 1 is a decode (or a prompt's last token), 0 never stays."""
        return self.length - self.computed

    def append(self, token: int) -> None:
        self.reserve()
        self.settle(token)

    def reserve(self) -> None:
        """Grow by a token that is still to be seen."""
        self.length += 1

    def forgo(self) -> None:
        """Do without the token that was reserved: it is computed again."""
        self.length -= 1

    def settle(self, token: int) -> None:
        """See the oldest token that was reserved."""
        self._tokens[self.known] = token
        self.known += 1

    def digests(self, page_size: int) -> list[bytes]:
        """The digests of all full pages of the known tokens; kept and continued as the sequence grows."""
        if self.known // page_size > len(self._digests):
            known = self._tokens[: self.known]
            self._digests.extend(page_digests(known, page_size, self._salt, self._digests))
        return self._digests
