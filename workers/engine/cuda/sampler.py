"""From logits to tokens on the device: the likeliest for all rows, and what else a row asks for in its stead."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.api import TokenLogprob
from pelton.workers.engine.cuda.kernels.draw import draw
from pelton.workers.engine.cuda.kernels.draw_cut import draw_cut
from pelton.workers.engine.grammars.masks import GrammarMasks
from pelton.workers.engine.sampling.biases import bias
from pelton.workers.engine.sampling.penalties import penalise
from pelton.workers.engine.sampling.sampler import KeptTensors, SampledToken, SamplingRequest
from pelton.workers.engine.sampling.sampling import SamplingTensors, token_logprobs
from pelton.workers.engine.transfer import Download, upload


@dataclass(frozen=True, slots=True, eq=False)
class DeviceStepHandle:
    """Tokens on their way to the host. `rows` is the row of each ask, `told` those whose log-probabilities come too."""

    rows: Items[int]
    told: Items[int]
    tops: Items[int]
    download: Download

    def choices(self) -> list[SampledToken]:
        (tokens, broken), *told = self.download.lists()
        logprobs: dict[int, TokenLogprob] = {}
        for row, most, logprob, values, ids in zip(self.told, self.tops, *told, strict=True) if told else ():
            logprobs[row] = TokenLogprob(tokens[row], logprob, tuple(zip(ids, values, strict=True))[:most])
        return [SampledToken(None if broken[row] else tokens[row], logprobs.get(row)) for row in self.rows]


class DeviceSampler:
    """Chooses without a look at numbers: what the host decides by, it knows before."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._drawn, self._cut, self._changed = (KeptTensors(device) for _ in range(3))
        self._masks = GrammarMasks()

    def choose(
        self, logits: Tensor, likeliest: Tensor, asks: Items[SamplingRequest], rows: Items[int]
    ) -> DeviceStepHandle:
        """Put into `likeliest` int64 [2, n] (tokens, broken) what those of `asks` choose that want something else.

        `rows` is the row of `logits` [n, vocab] that each ask is about.
        """
        both = list(zip(rows, asks, strict=True))
        ways = ((_drawn, self._draw), (_cut, self._draw_cut), (_adjusted, self._draw_adjusted))
        for belongs, way in ways:
            chosen = [each for each in both if belongs(each[1])]
            if chosen:
                at, positions = self._places(chosen)
                likeliest[0].index_copy_(0, at, way(logits, at, positions, [ask for _, ask in chosen]))
        told = [(row, ask.params.logprobs) for row, ask in both if ask.params.logprobs is not None]
        extra: tuple[Tensor, ...] = ()
        if told:
            at = upload([row for row, _ in told], torch.int64, self._device)
            most = max(top for _, top in told)
            extra = token_logprobs(logits.index_select(0, at).float(), likeliest[0].index_select(0, at), most)
        return DeviceStepHandle(
            rows, [row for row, _ in told], [top for _, top in told], Download.of(likeliest, *extra)
        )

    def _places(self, chosen: list[tuple[int, SamplingRequest]]) -> tuple[Tensor, Tensor]:
        """Rows and positions, int64 [n] each, in one upload; both aligned, as the kernels were compiled for."""
        count = len(chosen)
        both = np.zeros((2, count + count % 2), dtype=np.int64)
        both[:, :count] = [[row for row, _ in chosen], [ask.position for _, ask in chosen]]
        at, positions = upload(both, torch.int64, self._device)[:, :count].unbind(0)
        return at, positions

    def _draw(self, logits: Tensor, at: Tensor, positions: Tensor, asks: list[SamplingRequest]) -> Tensor:
        params = self._drawn.of(asks)
        return draw(logits, at, params.temperature, params.seed, positions)

    def _draw_cut(self, logits: Tensor, at: Tensor, positions: Tensor, asks: list[SamplingRequest]) -> Tensor:
        return _cut_by(self._cut.of(asks), logits, at, positions)

    def _draw_adjusted(self, logits: Tensor, at: Tensor, positions: Tensor, asks: list[SamplingRequest]) -> Tensor:
        params = [ask.params for ask in asks]
        adjusted = penalise(logits.index_select(0, at).float(), params, [ask.history for ask in asks])
        adjusted = bias(adjusted, params, [ask.position for ask in asks], [ask.ends for ask in asks])
        # The device computes the step while the masks are filled here.
        self._masks.apply(adjusted, [ask.grammar for ask in asks])
        return _cut_by(self._changed.of(asks), adjusted, torch.arange(len(asks), device=self._device), positions)


def _cut_by(params: SamplingTensors, logits: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    cuts = params.top_k, params.top_p, params.min_p
    return draw_cut(logits, rows, params.temperature, *cuts, params.seed, positions)


def is_greedy(ask: SamplingRequest) -> bool:
    """Whether a row's token is the likeliest of its logits as they are."""
    return ask.params.temperature <= 0 and not _adjusted(ask)


def _drawn(ask: SamplingRequest) -> bool:
    """Whether a row is sampled by its temperature alone."""
    params = ask.params
    cut = params.top_k > 0 or params.top_p < 1 or params.min_p > 0
    return params.temperature > 0 and not cut and not _adjusted(ask)


def _cut(ask: SamplingRequest) -> bool:
    """Whether only the likeliest tokens are sampled from, of logits as they are."""
    return ask.params.temperature > 0 and not _drawn(ask) and not _adjusted(ask)


def _adjusted(ask: SamplingRequest) -> bool:
    """Whether logits are changed first, be the row sampled or not."""
    return ask.params.penalises or ask.params.biases or ask.grammar is not None
