"""Logits held to masks: just what is not admitted is gone, however many tokens that is, and when masks are ready."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.masks import GrammarMasks, Masks
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_bytes

WIDTH = 300  # logits are padded beyond the tokens that a tokenizer knows


@given(st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0]), min_size=1, max_size=5), st.integers(0, 99))
def test_what_is_admitted_stays_and_the_rest_goes(shares: list[float], seed: int) -> None:
    """The same as a plain choice by mask, for rows where few, many or all tokens are admitted."""
    dice = np.random.default_rng(seed)
    admitted = dice.random((len(shares), 288)) < np.array(shares)[:, None]
    rows = dice.permutation(len(shares) + 2)[: len(shares)].tolist()
    logits = torch.randn(len(shares) + 2, WIDTH, generator=torch.manual_seed(seed))
    expected = logits.clone()
    for row, allowed in zip(rows, admitted, strict=True):
        padded = np.zeros(WIDTH, dtype=np.bool_)
        padded[: len(allowed)] = allowed
        expected[row, torch.from_numpy(~padded)] = -torch.inf
    Masks(rows, np.packbits(admitted, axis=1, bitorder="little").view(np.int32)).hold(logits)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("held", [0, 1, 3, 4, 9])
def test_masks_filled_ahead_are_those_filled_now(held: int) -> None:
    """With a thread's help or without."""
    grammar = GrammarCompiler(of_bytes).compile(GrammarSpec(GrammarKind.REGEX, "a[bc]*d|x+"))
    states = [grammar.start() for _ in range(held)]
    for index, state in enumerate(states):
        state.advance(ord("a" if index % 2 else "x"))
    grammars = [*states, None]
    masks = GrammarMasks()
    now, ahead = torch.zeros(held + 1, WIDTH), torch.zeros(held + 1, WIDTH)
    masks.apply(now, grammars)
    begun = masks.begin(grammars)
    begun.settle()
    begun.hold(ahead)
    assert torch.equal(now, ahead)
    assert not now[held].isinf().any()
    assert now[:held].isinf().any(dim=1).all()
