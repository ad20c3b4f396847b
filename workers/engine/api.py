"""The engine's face: what goes in, what comes out, and the five calls between.

An engine is driven by one thread. It keeps no queue: the caller offers what waits (`select`), hands over what was
chosen (`add`) and turns the crank (`step`). Times are seconds on `time.monotonic`'s clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens for one request.

    `temperature` 0 is greedy. `seed` makes a sampled answer repeatable: randomness is a function of seed and
    position only. `logprobs` asks for that many alternatives per token (0: the chosen token alone; None: nothing).
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One prompt on its way into the engine; past `deadline` it fails with `FailureKind.DEADLINE`."""

    id: int
    prompt: Sequence[int]
    params: SamplingParams
    deadline: float | None = None


class Waiting(Protocol):
    """What `select` sees of a request that waits: its sizes in tokens, and when it began to wait."""

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def max_new_tokens(self) -> int: ...

    @property
    def since(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Indexes to hand over now; when empty, `retry_at` says when to look again (None: when something changes)."""

    indexes: tuple[int, ...]
    retry_at: float | None = None


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural log-probability of one token, and of the likeliest alternatives as (token id, log-probability)."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished request. `token_ids` holds all generated tokens, an end-of-sequence token included."""

    request_id: int
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prefill_s: float
    decode_s: float
    logprobs: tuple[TokenLogprob, ...] | None = None


class FailureKind(StrEnum):
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    INVALID_OUTPUT = "invalid_output"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that ended without an answer, and why, in words for its sender."""

    request_id: int
    kind: FailureKind
    message: str


Outcome = Completion | Failure


@dataclass(frozen=True, slots=True)
class StepStats:
    """What the last step computed: rows in the batch, tokens that were somebody's, tokens computed with padding."""

    rows: int
    useful_tokens: int
    computed_tokens: int


class Engine(Protocol):
    """Continuous or padded, real or simulated: all the worker knows of an engine."""

    @property
    def context_length(self) -> int:
        """Most tokens (prompt + new) one request may span."""

    @property
    def max_batch_tokens(self) -> int:
        """Most tokens one step may compute; a request above it can never run."""

    @property
    def running(self) -> int:
        """Requests handed over and not finished."""

    @property
    def last_step(self) -> StepStats | None:
        """What the last step computed; None before the first."""

    def warm_up(self) -> None:
        """Do the slow first things (memory, kernels) before the worker says it is ready."""

    def select(self, waiting: Sequence[Waiting], now: float) -> Selection:
        """Choose from what waits, oldest first, what the engine has room for now. Pure."""

    def add(self, request: EngineRequest) -> None:
        """Take over a selected request."""

    def cancel(self, request_id: int) -> None:
        """End a request early; it comes out of a later step as a `Failure`. Unknown ids are ignored. Any thread."""

    def step(self) -> list[Outcome]:
        """Compute one step; return what finished in it."""
