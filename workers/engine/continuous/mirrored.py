"""The first rank's half of each step in parts: it sends the others what to compute, and computes its own part."""

from collections.abc import Sequence

from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import PackedBatch
from pelton.workers.engine.attention.paged import StepAttention
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.continuous.model_runner import PackedRunner
from pelton.workers.engine.continuous.step_attention import step_attention
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.parallel.followers import Followers
from pelton.workers.engine.parallel.messages import StepInput, Wipe


class MirroredRunner(PackedRunner):
    """A `PackedRunner` on every rank. Whatever fails in one of its passes ends the engine (EngineLostError)."""

    def __init__(self, loaded: LoadedModel, store: KVCache, limits: EngineLimits, followers: Followers) -> None:
        super().__init__(loaded.model, store, step_attention(loaded, limits))
        self._followers = followers

    def forward(self, batch: PackedBatch, attention: StepAttention) -> Tensor:
        self._followers.send(StepInput.of(batch))
        with self._followers.in_step():
            return super().forward(batch, attention)


class MirroredPages:
    """Wipes pages on every rank, in the order of the steps."""

    def __init__(self, store: KVCache, followers: Followers) -> None:
        self._store = store
        self._followers = followers

    def zero(self, pages: Sequence[int]) -> None:
        self._followers.send(Wipe(tuple(pages)))
        self._store.zero(pages)
