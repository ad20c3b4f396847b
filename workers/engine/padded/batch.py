"""One padded batch from prompts to answers, through transformers' `generate`.

`generate` runs the model, its cache and its masks; the choice of tokens and the end of each row are ours. The logits
processor chooses a token for every row and leaves it as the only possible one; the stopping criterion reports the
rows that have ended. What `generate` returns is not needed: the rows have seen every token by then.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from pelton.workers.engine.api import EngineRequest, Failure, Outcome, TokenLogprob
from pelton.workers.engine.grammars.masks import GrammarMasks
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.request_state import RequestState, interruption
from pelton.workers.engine.sampling.biases import bias
from pelton.workers.engine.sampling.penalties import History, penalise
from pelton.workers.engine.sampling.sampling import SamplingTensors, broken_rows, sample, token_logprobs
from pelton.workers.engine.stats import StepStats


@dataclass(slots=True)
class PaddedRequest:
    """A request the engine has taken over. `seed` is fixed here, so that a second attempt draws the same tokens."""

    request: EngineRequest
    seed: int
    cancelled: bool = False

    def interruption(self, now: float) -> Failure | None:
        """Why this request must end now, if it must."""
        return interruption(self.request, cancelled=self.cancelled, now=now)


@dataclass(slots=True)
class _Row:
    """The answer to one request as it grows."""

    ticket: PaddedRequest
    answer: RequestState
    tokens: list[int] = field(default_factory=list)
    outcome: Outcome | None = None

    def take(self, token: int, logprob: TokenLogprob | None, now: float) -> Outcome | None:
        """Append a token; None while the answer goes on."""
        self.tokens.append(token)
        reason = self.answer.accept(token, logprob, now)
        if reason is None or isinstance(reason, Failure):
            return reason
        return self.answer.completion(reason, tuple(self.tokens), 0, now)


class PaddedBatch:
    """Rows side by side, padded on the left to the longest prompt, generating until the last one has ended."""

    def __init__(
        self, loaded: LoadedModel, tickets: Sequence[PaddedRequest], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loaded = loaded
        self._clock = clock
        now = clock()
        self._rows = [_Row(ticket, RequestState.of(ticket.request, loaded, now)) for ticket in tickets]
        self._requests = [ticket.request for ticket in tickets]
        self._longest = max(len(request.prompt) for request in self._requests)
        asked = [r.params.logprobs for r in self._requests if r.params.logprobs is not None]
        self._top_logprobs = max(asked, default=None)
        self._steps = 0
        self._masks = GrammarMasks()

    @property
    def outcomes(self) -> list[Outcome]:
        """What has finished, in the order of the tickets; complete once `run` has returned."""
        return [row.outcome for row in self._rows if row.outcome is not None]

    @property
    def unfinished(self) -> list[PaddedRequest]:
        return [row.ticket for row in self._rows if row.outcome is None]

    @property
    def stats(self) -> StepStats:
        """What has been computed; useful is what belongs to finished rows."""
        finished = [row for row in self._rows if row.outcome is not None]
        useful = sum(len(row.ticket.request.prompt) + len(row.tokens) for row in finished)
        return StepStats(len(finished), useful, len(self._rows) * (self._longest + self._steps))

    def run(self) -> None:
        """Generate every row to its end. Whatever the model raises comes through; rows finished by then stay so.

        Raises RuntimeError when the model stops before every row has ended.
        """
        input_ids, attention_mask = self._padded_prompts()
        sampling = SamplingTensors.of(
            [request.params for request in self._requests], [row.ticket.seed for row in self._rows], self._loaded.device
        )
        with torch.inference_mode():
            self._loaded.model.generate(
                input_ids=input_ids,
                attention_mask=attention_mask,
                generation_config=self._generation_config(),
                logits_processor=[_Chooser(self, sampling)],
                stopping_criteria=[_Stopper(self)],
            )
        if self.unfinished:
            raise RuntimeError(f"the model stopped generating with {len(self.unfinished)} answers incomplete")

    def choose(self, logits: Tensor, sampling: SamplingTensors) -> Tensor:
        """Choose and record one token for every row: int64 [rows], from float32 logits [rows, vocab], left as they are.

        Rows that have ended get tokens too, as `generate` carries them along; nobody reads those.
        """
        penalised = penalise(logits, [request.params for request in self._requests], self._histories())
        ends = [row.answer.eos_token_ids for row in self._rows]
        params = [request.params for request in self._requests]
        penalised = bias(penalised, params, [self._steps] * len(ends), ends)
        grammars = [None if row.outcome is not None else row.answer.grammar for row in self._rows]
        if any(grammars):
            penalised = penalised.clone() if penalised is logits else penalised
            self._masks.apply(penalised, grammars)
        tokens = sample(penalised, sampling, torch.full_like(sampling.seed, self._steps))
        chosen, broken = torch.stack((tokens, broken_rows(logits).long())).tolist()
        logprobs = self._logprobs(logits, tokens)
        now = self._clock()
        self._steps += 1
        for row, token, is_broken, logprob in zip(self._rows, chosen, broken, logprobs, strict=True):
            if row.outcome is None:
                row.outcome = row.ticket.interruption(now) or (
                    row.answer.invalid_output() if is_broken else row.take(token, logprob, now)
                )
        return tokens

    def ended(self) -> Tensor:
        """The rows that need no further tokens, bool [rows]."""
        return torch.tensor([row.outcome is not None for row in self._rows], device=self._loaded.device)

    def _logprobs(self, logits: Tensor, tokens: Tensor) -> list[TokenLogprob | None]:
        if self._top_logprobs is None:
            return [None] * len(self._rows)
        chosen, values, ids = token_logprobs(logits, tokens, self._top_logprobs)
        rows = zip(self._requests, tokens.tolist(), chosen.tolist(), values.tolist(), ids.tolist(), strict=True)
        return [
            TokenLogprob(token, logprob, tuple(zip(top_ids, top_values, strict=True))[: request.params.logprobs])
            for request, token, logprob, top_values, top_ids in rows
        ]

    def _histories(self) -> list[History]:
        if not any(request.params.penalises for request in self._requests):
            return []
        return [
            History(np.array([*row.ticket.request.prompt, *row.tokens]), len(row.ticket.request.prompt))
            for row in self._rows
        ]

    def _padded_prompts(self) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, int64 [rows, longest prompt]."""
        input_ids = torch.full((len(self._rows), self._longest), self._loaded.pad_token_id)
        attention_mask = torch.zeros_like(input_ids)
        for index, request in enumerate(self._requests):
            input_ids[index, self._longest - len(request.prompt) :] = torch.tensor(request.prompt)
            attention_mask[index, self._longest - len(request.prompt) :] = 1
        return input_ids.to(self._loaded.device), attention_mask.to(self._loaded.device)

    def _generation_config(self) -> GenerationConfig:
        # No end-of-sequence token: whether one ends a row is that row's affair (`ignore_eos`).
        return GenerationConfig(
            max_new_tokens=max(request.params.max_tokens for request in self._requests),
            do_sample=False,
            use_cache=True,
            pad_token_id=self._loaded.pad_token_id,
            disable_compile=True,
        )


class _Chooser(LogitsProcessor):
    """Leaves `generate`'s arg-max the token that the batch has chosen."""

    def __init__(self, batch: PaddedBatch, sampling: SamplingTensors) -> None:
        self._batch = batch
        self._sampling = sampling

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 (transformers' signature)
        tokens = self._batch.choose(scores, self._sampling)
        return scores.fill_(-torch.inf).scatter_(1, tokens[:, None], 0.0)


class _Stopper(StoppingCriteria):
    def __init__(self, batch: PaddedBatch) -> None:
        super().__init__()
        self._batch = batch

    def __call__(self, input_ids: Tensor, scores: Tensor | None, **_: object) -> Tensor:  # noqa: ARG002 (likewise)
        return self._batch.ended()
