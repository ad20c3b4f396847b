"""Penalties for repeating: logits lowered by what a row has said so far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.transfer import upload


@dataclass(frozen=True, slots=True)
class History:
    """The tokens of a row so far, int64; the first `prompt_length` are its prompt."""

    tokens: NDArray[np.int64]
    prompt_length: int


def penalise(logits: Tensor, params: Sequence[SamplingParams], histories: Sequence[History]) -> Tensor:
    """Float32 logits [rows, vocab] after the penalties of each row; the very same tensor where no row has any.

    The repetition penalty is that of Keskar et al. ("CTRL", 2019), over prompt and answer; presence and frequency are
    OpenAI's, over the answer alone.
    """
    rows = [row for row, each in enumerate(params) if each.penalises]
    if not rows:
        return logits
    vocab = logits.shape[-1]
    said = torch.zeros(len(rows), vocab, device=logits.device)
    generated = torch.zeros_like(said)
    places, answered = _places([histories[row] for row in rows], vocab)
    tokens = upload(places, torch.int64, logits.device)
    said.view(-1).index_fill_(0, tokens, 1.0)
    generated.view(-1).index_add_(0, tokens[:answered], torch.ones(answered, device=logits.device))
    at = upload(rows, torch.int64, logits.device)
    penalised = logits.index_select(0, at)
    repetition, presence, frequency = _columns([params[row] for row in rows], logits.device)
    repeated = torch.where(penalised > 0, penalised / repetition, penalised * repetition)
    penalised = torch.where(said > 0, repeated, penalised)
    penalised = penalised - (generated > 0) * presence - generated * frequency
    return logits.index_copy(0, at, penalised)


def _places(histories: Sequence[History], vocab: int) -> tuple[NDArray[np.int64], int]:
    """Where the tokens of all histories lie in [histories, vocab], flat: first the answers', then the prompts'.

    All in one, and how many are the answers': for each row by itself a device would get an upload and three launches.
    """
    answers = [index * vocab + each.tokens[each.prompt_length :] for index, each in enumerate(histories)]
    prompts = [index * vocab + each.tokens[: each.prompt_length] for index, each in enumerate(histories)]
    return np.concatenate([*answers, *prompts]), sum(map(len, answers))


def _columns(params: Sequence[SamplingParams], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    each = [(each.repetition_penalty, each.presence_penalty, each.frequency_penalty) for each in params]
    columns = upload(each, torch.float32, device)
    repetition, presence, frequency = columns[..., None].unbind(1)
    return repetition, presence, frequency
