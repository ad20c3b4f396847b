"""Which attention computes the steps of a model in parts; the same in all ranks."""

from collections.abc import Callable
from functools import partial

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import PackedBatch
from pelton.workers.engine.attention.paged import StepAttention, TorchAttention
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.model.loading import LoadedModel

AttentionFactory = Callable[[PackedBatch, KVCache], StepAttention]


def step_attention(loaded: LoadedModel, limits: EngineLimits) -> AttentionFactory:
    """The kernels of a GPU, where no row depends on what another of the same step writes (drafts do)."""
    if limits.batch_invariant:
        return partial(TorchAttention, sharing=False)
    if loaded.device.type != "cuda" or limits.speculation != "off":
        return TorchAttention
    from pelton.workers.engine.cuda.packed_attention import PackedAttention  # noqa: PLC0415 (needs Triton, which is only there)

    config = loaded.model.config
    return PackedAttention(config.num_attention_heads // (config.num_key_value_heads or config.num_attention_heads))
