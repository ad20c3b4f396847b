"""Keys and values of one byte a number: how exact, how large, and that nothing but exactness differs."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.engine.api import EngineRequest, SamplingParams
from pelton.workers.engine.attention.decode import PageAttention
from pelton.workers.engine.attention.kv_cache import KVCacheSpec
from pelton.workers.engine.attention.native_decode import NativeAttention
from pelton.workers.engine.attention.packed_batch import PackedBatch, RowSpan
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.attention.quantised_kv import QuantisedKVCache
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.loading import wrap
from tests.unit.workers.engine._support.driving import drain, tokens_of
from tests.unit.workers.engine._support.kernels import Paged, assert_close
from tests.unit.workers.engine._support.native import BOTH_WAYS, the_kernels
from tests.unit.workers.engine._support.quantised import KINDS, LARGEST_ERROR, quantised
from tests.unit.workers.engine._support.reference import pristine, prompt_of

CPU = torch.device("cpu")
PAGE = 4


def store_of_one(kind: torch.dtype, pages: int = 3) -> QuantisedKVCache:
    return QuantisedKVCache(KVCacheSpec(1, 2, 16, kind), pages, PAGE, dtype=torch.float32, device=CPU)


def put(store: QuantisedKVCache, page: int, keys: torch.Tensor, values: torch.Tensor) -> None:
    """A page's tokens, [PAGE, kv_heads, head_dim]."""
    places = store.places(torch.full((PAGE,), page), torch.arange(PAGE))
    store.write(0, keys, values, places)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(size=st.sampled_from([0.0, 1e-6, 1.0, 300.0, 1e4]), seed=st.integers(0, 99))
def test_each_token_is_as_exact_as_its_own_size_allows(kind: torch.dtype, size: float, seed: int) -> None:
    """However large another token of the page is: an error is a part of the token's own largest number."""
    store = store_of_one(kind)
    tokens = torch.randn(2, PAGE, 2, 16, generator=torch.Generator().manual_seed(seed))
    tokens[:, 1] *= size
    put(store, 1, *tokens)
    got = torch.stack(
        [store.gather(0, where).clone() for where in (torch.tensor([1]), store.value_pages(torch.tensor([1])))]
    )
    exact = tokens.transpose(1, 2)
    error = (got[:, 0] - exact).abs().amax(-1)
    assert (error <= LARGEST_ERROR[kind] * exact.abs().amax(-1) + 1e-30).all()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_no_number_is_seen_until_it_is_wiped(kind: torch.dtype) -> None:
    """A NaN or an infinity must spoil the answer that made it, and no other after its page is wiped."""
    store = store_of_one(kind)
    tokens = torch.ones(PAGE, 2, 16)
    tokens[0, 0, 3], tokens[1, 1, 4] = torch.nan, torch.inf
    put(store, 1, tokens, tokens)
    read = store.gather(0, torch.tensor([1]))
    assert read[0, 0, 0].isnan().all()
    assert not read[0, 1, 1].isfinite().all()
    store.zero([1])
    assert torch.equal(store.gather(0, store.both(torch.tensor([1]))), torch.zeros(2, 2, PAGE, 16))


def test_pages_are_smaller() -> None:
    """Of heads of 128 in bfloat16 about twice as many fit; with the scales, which are counted."""
    plain, small = (KVCacheSpec(2, 4, 128, kind).page_bytes(64, torch.bfloat16) for kind in (None, torch.int8))
    assert plain / small == pytest.approx(256 / 132)
    store = QuantisedKVCache(KVCacheSpec(2, 4, 128, torch.int8), 3, 64, dtype=torch.bfloat16, device=CPU)
    held = [*store._layers, *store._absmax]
    assert sum(each.nbytes for each in held) == (3 + 1) * small


@pytest.mark.parametrize("native", BOTH_WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sharing", [True, False], ids=["sharing", "alone"])
@pytest.mark.parametrize(
    "scoring", [AttentionParams(0.1), AttentionParams(0.3, window=21, softcap=2.0)], ids=["plain", "window"]
)
def test_decoding_rows(scoring: AttentionParams, sharing: bool, dtype: torch.dtype, native: bool) -> None:
    """Exactly attention over what is stored: float64's answer on the numbers as they are read."""
    lengths = [1, 16, 17, 40, 63]
    paged, store = quantised(Paged.random(lengths, 16, 2, 32, dtype, "cpu"), torch.int8)
    spans = [RowSpan(slot, n - 1, 1, paged.tables[slot, : -(-n // 16)].numpy()) for slot, n in enumerate(lengths)]
    batch = PackedBatch.pack(np.zeros(len(spans), dtype=np.int64), spans, np.arange(len(spans)), store)
    keys, values = (each[batch.write_pages, :, batch.write_slots] for each in (paged.keys, paged.values))
    queries = torch.randn(len(spans), 8, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
    attention = NativeAttention(batch, store, the_kernels()) if native else PageAttention(batch, store, sharing=sharing)
    out = attention.attend(0, queries, keys, values, scoring)
    for slot, length in enumerate(lengths):
        assert_close(out[slot], paged.attended(slot, queries[slot, None], length - 1, scoring)[0])


def engine_of(family: str, **limits: Any) -> ContinuousEngine:
    config = ContinuousConfig(**{"page_size": PAGE, "kv_memory_gib": 0.001, "kv_dtype": "int8", **limits})
    return ContinuousEngine(wrap(copy.deepcopy(pristine(family))), config)


def answers(engine: ContinuousEngine, prompts: list[tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, SamplingParams(8, temperature=0.0, ignore_eos=True)))
    return tokens_of(drain(engine))


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_answers_do_not_depend_on_how_they_came_about(family: str) -> None:
    """In chunks, over a shared prefix, preempted and computed again: the tokens of each request alone."""
    prompts = [prompt_of(length, seed) for length, seed in ((1, 4), (27, 1), (20, 7), (30, 1))]
    alone = {index: answers(engine_of(family), [prompt])[0] for index, prompt in enumerate(prompts)}
    assert answers(engine_of(family, max_batch_tokens=7), prompts) == alone
    assert answers(engine_of(family, batch_invariant=True), prompts) == alone
    shared = engine_of(family)
    assert answers(shared, prompts) == alone == answers(shared, prompts)
    assert shared.prefix_stats.hit > 0
    page_gib = shared._store.num_pages and 0.001 / shared._store.num_pages
    scarce = engine_of(family, kv_memory_gib=12.5 * page_gib)
    assert answers(scarce, prompts) == alone
    assert scarce.preemptions > 0


def test_answers_are_those_of_exact_keys_and_values_nearly() -> None:
    """The model's own, but for ties that a part in 254 decides: most tokens of most answers."""
    prompts = [prompt_of(length, seed) for length, seed in ((5, 4), (27, 1), (20, 7), (30, 2))]
    exact, small = (answers(engine_of("llama", kv_dtype=kind), prompts) for kind in ("auto", "int8"))
    pairs = [pair for index in exact for pair in zip(exact[index], small[index], strict=True)]
    assert sum(one == other for one, other in pairs) >= 0.9 * len(pairs)


def test_fp8_is_refused_on_a_cpu() -> None:
    """The message names the setting and the remedy."""
    with pytest.raises(ModelLoadError, match=r"engine\.kv_dtype: fp8 is for a GPU; set int8"):
        engine_of("llama", kv_dtype="fp8")
