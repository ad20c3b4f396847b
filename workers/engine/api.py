"""The engine's face: what goes in, what comes out, and the five calls between.

An engine is driven by one thread. It keeps no queue: the caller offers what waits (`select`), hands over what was
chosen (`add`) and calls `step`. Times are seconds on `time.monotonic`'s clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pelton.workers.engine.grammars.matching import Grammar
from pelton.workers.engine.stats import StepStats


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens for one request.

    `temperature` 0 is greedy. `top_k` (0: all), `top_p` and `min_p` each keep the likeliest tokens, as many as that,
    with that much probability in sum, or with at least that part of the likeliest one's. The penalties go by the
    tokens so far: `repetition_penalty` divides a positive logit (and multiplies a negative one) of all of them, prompt
    included; `presence_penalty` is taken off once and `frequency_penalty` for each time a token was generated.
    `seed` makes a sampled answer repeatable: randomness is a function of seed and position only. `logprobs` asks for
    that many alternatives per token (0: the chosen token alone; None: nothing). `logit_bias` is added to the logits
    of (token id, bias) pairs; `stop_token_ids` end an answer as the model's own do, none of which is chosen before
    `min_tokens` tokens. Of `n` answers to one prompt each has a seed of its own, made from `seed`.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    ignore_eos: bool = False
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    n: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for what means nothing. Zero `max_tokens` is for the engine to refuse."""
        told: list[str] = []
        if self.temperature < 0:
            told.append("temperature must not be negative")
        if not self.top_p > 0:
            told.append("top_p must be above 0")
        if self.top_k < 0:
            told.append("top_k must not be negative")
        if not 0 <= self.min_p <= 1:
            told.append("min_p must be between 0 and 1")
        if self.repetition_penalty <= 0:
            told.append("repetition_penalty must be above 0")
        if self.logprobs is not None and self.logprobs < 0:
            told.append("logprobs must not be negative")
        if self.min_tokens < 0:
            told.append("min_tokens must not be negative")
        if self.n < 1:
            told.append("n must be at least 1")
        if told:
            raise ValueError("; ".join(told))

    @property
    def penalises(self) -> bool:
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)

    @property
    def biases(self) -> bool:
        """Whether the logits of some tokens are changed whatever the text so far is."""
        return bool(self.logit_bias) or self.min_tokens > 0


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One prompt on its way into the engine; past `deadline` it fails with `FailureKind.DEADLINE`.

    Higher `priority` goes first where not all can. Only requests with the same `cache_salt` share computed prefixes.
    With a `grammar` the answer is a text of that grammar, unless `max_tokens` or a stop string cuts it. `text` is what
    the prompt's tokens were made of, for an engine that works on text. `on_token` is called in a step with the place
    and id of each token that the answer goes on behind; an engine that computes an answer anew begins again with 0. One
    that works on text calls `on_text` in their place, with all of the text so far.
    """

    id: int
    prompt: Sequence[int]
    params: SamplingParams
    deadline: float | None = None
    priority: int = 0
    cache_salt: str = ""
    grammar: Grammar | None = None
    text: str = ""
    on_token: Callable[[int, int], None] | None = None
    on_text: Callable[[str], None] | None = None

    @property
    def chosen_by_text(self) -> bool:
        """Whether a token's choice goes by the tokens before it, beyond what the model makes of them."""
        return self.params.penalises or self.grammar is not None


class Waiting(Protocol):
    """What `select` sees of a request that waits: its sizes in tokens, its priority, when it began to wait."""

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def max_new_tokens(self) -> int: ...

    @property
    def priority(self) -> int: ...

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
class WrittenAnswer:
    """An answer in words: the JSON object of `choices` and `usage`, and the tokens that its usage speaks of."""

    body: bytes
    prompt_tokens: int
    generated_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished request. `token_ids` holds all generated tokens, an end-of-sequence token included.

    `cached_tokens` of the prompt were not computed, because an earlier prompt began with them. `others` are the further
    answers to the same prompt, in their order, where more than one was asked for. An engine that works on text has no
    tokens to give, but the answer as it was `written`.
    """

    request_id: int
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prefill_s: float
    decode_s: float
    logprobs: tuple[TokenLogprob, ...] | None = None
    cached_tokens: int = 0
    others: tuple["Completion", ...] = ()
    written: WrittenAnswer | None = None

    @property
    def all(self) -> tuple["Completion", ...]:
        """Itself, and the others."""
        return (self, *self.others)

    @property
    def generated_tokens(self) -> int:
        """Of all answers together."""
        if self.written is not None:
            return self.written.generated_tokens
        return sum(len(each.token_ids) for each in self.all)


class FailureKind(StrEnum):
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    INVALID_OUTPUT = "invalid_output"
    INTERNAL = "internal"
    REFUSED = "refused"
    """The fault is the request's: another attempt would end alike."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that ended without an answer, and why, in words for its sender.

    Of one that was refused, `code` says why in one word, where it is known, and `param` which field is at fault.
    """

    request_id: int
    kind: FailureKind
    message: str
    code: str | None = None
    param: str | None = None


Outcome = Completion | Failure


class StepEngine(Protocol):
    """Continuous or padded, real or simulated: all the worker knows of an engine."""

    @property
    def context_length(self) -> int:
        """Most tokens (prompt + new) one request may span."""

    @property
    def max_request_tokens(self) -> int:
        """Most tokens (prompt + new) the engine has room for; a request above it can never run."""

    @property
    def running(self) -> int:
        """Requests handed over and not finished."""

    @property
    def last_step(self) -> StepStats | None:
        """What the last step computed; None before the first."""

    def warm_up(self) -> None:
        """Do the slow first things (memory, kernels) before the worker says it is ready."""

    def select(self, waiting: Sequence[Waiting], now: float) -> Selection:
        """Choose from what waits, oldest first, what the engine has room for now. What is chosen must be added."""

    def add(self, request: EngineRequest) -> None:
        """Take over a selected request."""

    def cancel(self, request_id: int) -> None:
        """End a request early; it comes out of a later step as a `Failure`. Unknown ids are ignored. Any thread."""

    def step(self) -> list[Outcome]:
        """Compute one step; return what finished in it."""
