"""From logits to tokens for the sequences of a step: penalties, sampling, log-probabilities."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch
from torch import Tensor

from pelton.workers.engine.api import SamplingParams, TokenLogprob
from pelton.workers.engine.grammars.masks import GrammarMasks, StepMasks
from pelton.workers.engine.grammars.matching import GrammarState
from pelton.workers.engine.sampling.biases import bias
from pelton.workers.engine.sampling.penalties import History, penalise
from pelton.workers.engine.sampling.sampling import SamplingTensors, broken_rows, sample, token_logprobs


@dataclass(frozen=True, slots=True, eq=False)
class SamplingRequest:
    """What a row of logits is wanted for. `position` counts its generated tokens from 0; `ends` end its answer."""

    params: SamplingParams
    seed: int
    position: int
    history: History
    grammar: GrammarState | None = None
    ends: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A row's next token; None where its logits are broken."""

    token: int | None
    logprob: TokenLogprob | None


class KeptTensors:
    """The parameters' tensors of some rows, kept from step to step while the same ones are asked for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._key: list[tuple[SamplingParams, int]] = []
        self._tensors: SamplingTensors | None = None

    def of(self, asks: Items[SamplingRequest]) -> SamplingTensors:
        key = [(ask.params, ask.seed) for ask in asks]
        if self._tensors is None or key != self._key:
            self._tensors = SamplingTensors.of([ask.params for ask in asks], [ask.seed for ask in asks], self._device)
            self._key = key
        return self._tensors


class Sampler:
    """Chooses the next token of each row of a step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tensors = KeptTensors(device)
        self._masks = GrammarMasks()

    def begin_masks(self, asks: Items[SamplingRequest]) -> StepMasks:
        """What the grammars admit next: to be filled while the model computes."""
        return self._masks.begin([ask.grammar for ask in asks])

    def choose(self, logits: Tensor, asks: Items[SamplingRequest], masks: StepMasks) -> list[SampledToken]:
        """One choice for each row of float32 `logits` [rows, vocab], which is overwritten."""
        params = [ask.params for ask in asks]
        wanted = [row for row, each in enumerate(params) if each.logprobs is not None]
        models_own = logits[wanted]  # log-probabilities are the model's, whatever else narrows the choice
        broken_or_not = broken_rows(logits).long()
        adjusted = penalise(logits, params, [ask.history for ask in asks])
        adjusted = bias(adjusted, params, [ask.position for ask in asks], [ask.ends for ask in asks])
        masks.hold(adjusted)
        positions = torch.tensor([ask.position for ask in asks], device=self._device)
        tokens = sample(adjusted, self._tensors.of(asks), positions)
        chosen, broken = torch.stack((tokens, broken_or_not)).tolist()
        logprobs = self._logprobs(models_own, tokens, params, wanted)
        return [
            SampledToken(None if is_broken else token, logprob)
            for token, is_broken, logprob in zip(chosen, broken, logprobs, strict=True)
        ]

    def _logprobs(
        self, logits: Tensor, tokens: Tensor, params: Items[SamplingParams], wanted: Items[int]
    ) -> list[TokenLogprob | None]:
        """Of the rows `wanted`, whose `logits` these are; None for the others."""
        found: list[TokenLogprob | None] = [None] * len(params)
        if not wanted:
            return found
        most = max(params[row].logprobs or 0 for row in wanted)
        columns = (column.tolist() for column in (tokens[wanted], *token_logprobs(logits, tokens[wanted], most)))
        for row, token, logprob, values, ids in zip(wanted, *columns, strict=True):
            top = tuple(zip(ids, values, strict=True))[: params[row].logprobs]
            found[row] = TokenLogprob(token, logprob, top)
        return found
