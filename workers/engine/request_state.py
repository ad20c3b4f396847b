"""One request's answer as it grows: when it ends, and what is reported of it. Shared by the engines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pelton.workers.engine.api import Completion, EngineRequest, Failure, FailureKind, FinishReason, TokenLogprob
from pelton.workers.engine.grammars.matching import GrammarState
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.stop_strings import StopStrings


@dataclass(slots=True)
class RequestState:
    """Tracks one request until it finishes: by its tokens, its deadline or its sender."""

    request: EngineRequest
    eos_token_ids: frozenset[int]
    started_at: float
    stop_strings: StopStrings | None = None
    grammar: GrammarState | None = None
    cancelled: bool = False
    first_token_at: float | None = None
    tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)

    @classmethod
    def of(cls, request: EngineRequest, loaded: LoadedModel, now: float) -> "RequestState":
        params = request.params
        ends = frozenset() if params.ignore_eos else frozenset(loaded.eos_token_ids)
        answer = cls(request, ends | frozenset(params.stop_token_ids), now)
        if params.stop:
            answer.stop_strings = StopStrings(params.stop, text_of(loaded))
        if request.grammar is not None:
            answer.grammar = request.grammar.start()
        return answer

    def interruption(self, now: float) -> Failure | None:
        """Why this request must end now, if it must."""
        return interruption(self.request, cancelled=self.cancelled, now=now)

    def accept(self, token: int, logprob: TokenLogprob | None, now: float) -> FinishReason | Failure | None:
        """Take the next token; None while the answer goes on."""
        self.tokens += 1
        if self.first_token_at is None:
            self.first_token_at = now
        if logprob is not None:
            self.logprobs.append(logprob)
        ends = token in self.eos_token_ids
        if self.grammar is not None:
            if not ends:
                self.grammar.advance(token)
            if self.grammar.error is not None:
                return self._beyond_grammar(self.grammar.error)
            ends = ends or self.grammar.ended
        if ends or (self.stop_strings is not None and self.stop_strings.push(token)):
            return FinishReason.STOP
        if self.tokens >= self.request.params.max_tokens:
            return FinishReason.LENGTH
        if self.request.on_token is not None:
            self.request.on_token(self.tokens - 1, token)
        return None

    def _beyond_grammar(self, error: str) -> Failure:
        message = f"The grammar asked for became too complex at token {self.tokens} of the answer: {error}."
        return Failure(self.request.id, FailureKind.INVALID_OUTPUT, message)

    def invalid_output(self) -> Failure:
        message = f"The model produced NaN or infinite logits for token {self.tokens} of the answer."
        return Failure(self.request.id, FailureKind.INVALID_OUTPUT, message)

    def completion(
        self, reason: FinishReason, token_ids: tuple[int, ...], cached_tokens: int, now: float
    ) -> Completion:
        first = now if self.first_token_at is None else self.first_token_at
        return Completion(
            request_id=self.request.id,
            token_ids=token_ids,
            finish_reason=reason,
            prefill_s=first - self.started_at,
            decode_s=now - first,
            logprobs=None if self.request.params.logprobs is None else tuple(self.logprobs),
            cached_tokens=cached_tokens,
        )


def interruption(request: EngineRequest, *, cancelled: bool, now: float) -> Failure | None:
    """Why a request must end now, if it must."""
    if cancelled:
        return Failure(request.id, FailureKind.CANCELLED, "The request was cancelled.")
    if request.deadline is not None and now >= request.deadline:
        return Failure(request.id, FailureKind.DEADLINE, "The deadline passed before the answer was complete.")
    return None


def text_of(loaded: LoadedModel) -> Callable[[list[int]], str]:
    """The text of tokens, for finding stop strings in."""
    decode: Callable[[list[int]], str] = partial(
        loaded.tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return decode
