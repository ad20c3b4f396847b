"""From logits to tokens on the device: the likeliest for all rows, and what else a row asks for in its stead."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.api import SamplingParams, TokenLogprob
from workers.engine.chooser import Ask, Choice
from workers.engine.penalties import penalise
from workers.engine.sampling import SamplingTensors, sample, token_logprobs
from workers.engine.transfer import Download, upload


@dataclass(frozen=True, slots=True, eq=False)
class DeviceFlight:
    """Tokens on their way to the host. `rows` is the row of each ask, `told` those whose log-probabilities come too."""

    rows: Items[int]
    told: Items[int]
    tops: Items[int]
    download: Download

    def choices(self) -> list[Choice]:
        (tokens, broken), *told = self.download.lists()
        logprobs: dict[int, TokenLogprob] = {}
        for row, most, logprob, values, ids in zip(self.told, self.tops, *told, strict=True) if told else ():
            logprobs[row] = TokenLogprob(tokens[row], logprob, tuple(zip(ids, values, strict=True))[:most])
        return [Choice(None if broken[row] else tokens[row], logprobs.get(row)) for row in self.rows]


class DeviceChooser:
    """Keeps the parameters' tensors from step to step while the same rows are asked for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._key: list[tuple[SamplingParams, int]] = []
        self._tensors: SamplingTensors | None = None

    def choose(self, logits: Tensor, likeliest: Tensor, asks: Items[Ask], rows: Items[int]) -> DeviceFlight:
        """Put into `likeliest` int64 [2, n] (tokens, broken) what those of `asks` choose that want something else.

        `rows` is the row of `logits` [n, vocab] that each ask is about.
        """
        # A grammar's mask, once there is one, makes a row one of these.
        special = [(row, ask) for row, ask in zip(rows, asks, strict=True) if _special(ask.params)]
        if special:
            at = upload([row for row, _ in special], torch.int64, self._device)
            tokens = self._sampled(logits.index_select(0, at).float(), [ask for _, ask in special])
            likeliest[0].index_copy_(0, at, tokens)
        told = [
            (row, ask.params.logprobs) for row, ask in zip(rows, asks, strict=True) if ask.params.logprobs is not None
        ]
        extra: tuple[Tensor, ...] = ()
        if told:
            at = upload([row for row, _ in told], torch.int64, self._device)
            most = max(top for _, top in told)
            extra = token_logprobs(logits.index_select(0, at).float(), likeliest[0].index_select(0, at), most)
        return DeviceFlight(rows, [row for row, _ in told], [top for _, top in told], Download.of(likeliest, *extra))

    def _sampled(self, logits: Tensor, asks: Items[Ask]) -> Tensor:
        params = [ask.params for ask in asks]
        adjusted = penalise(logits, params, [ask.history for ask in asks])
        key = [(ask.params, ask.seed) for ask in asks]
        if self._tensors is None or key != self._key:
            self._tensors = SamplingTensors.of(params, [ask.seed for ask in asks], self._device)
            self._key = key
        return sample(adjusted, self._tensors, upload([ask.position for ask in asks], torch.int64, self._device))


def _special(params: SamplingParams) -> bool:
    return params.temperature > 0 or params.penalises
