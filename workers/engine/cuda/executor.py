"""Steps on a GPU, launched one behind the other without waiting for their tokens
(`workers/engine/continuous/executors.py`).

The host knows a step's sequences, positions and pages ahead of its tokens. It tells them in one copy (`step_input.py`);
the tokens stay on the device, in their sequences' slots (`slots.py`), and are copied to the host behind the step. Steps
of one token per sequence run as CUDA graphs (`graphs.py`); with a prompt's chunk among them, as one packed forward
pass.
"""

import itertools
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.cuda.attention import AttentionFactory, Layout, TritonAttention
from pelton.workers.engine.cuda.compiling import compile_body
from pelton.workers.engine.cuda.environment import keep_kernels, settle_process
from pelton.workers.engine.cuda.graphs import Graphs, buckets_for
from pelton.workers.engine.cuda.kernels.argmax import likeliest
from pelton.workers.engine.cuda.kernels.prefill import block_tokens, cut_blocks
from pelton.workers.engine.cuda.kernels.splits import SPLIT_FIELDS, Splits, most_splits, plan_splits
from pelton.workers.engine.cuda.paged_op import ATTENTION, attending, register
from pelton.workers.engine.cuda.sampler import DeviceSampler
from pelton.workers.engine.cuda.slots import Slots
from pelton.workers.engine.cuda.step_input import FIELDS, POSITIONS, Ints, Rows, chunk_blocks, pack_rows
from pelton.workers.engine.executor import StepHandle
from pelton.workers.engine.faults import memory_lasts
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.sampling.penalties import History
from pelton.workers.engine.sampling.sampler import SamplingRequest
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.transfer import upload_into

# Rows of a packed step are filled up to a multiple of this: what lies behind them is aligned then as the kernels were
# compiled for, and matrix products like it.
_ALIGNED = 8

# All ways of choosing a token; the last asks for all that it can need memory for.
_WAYS = (
    SamplingParams(1),
    SamplingParams(1, top_k=40, top_p=0.9, min_p=0.01, seed=0),
    SamplingParams(1, top_k=40, top_p=0.9, min_p=0.01, presence_penalty=0.1, seed=0, logprobs=20),
)


class DeviceExecutor:
    """Implements `Executor`; runs one step behind the host, so that the device never waits for it."""

    steps_ahead = 1

    def __init__(
        self, loaded: LoadedModel, store: KVCache, limits: EngineLimits, attention: AttentionFactory = TritonAttention
    ) -> None:
        keep_kernels(limits.kernel_cache)
        self._model: Any = loaded.model
        self._limits = limits
        self._store = store
        self._device = loaded.device
        self._attention = attention
        width = -(-loaded.context_length // limits.page_size)
        self._slots = Slots(limits.max_running, width, store.null_page, loaded.device)
        self._chooser = DeviceSampler(loaded.device)
        self._graphs = Graphs(self._decode, buckets_for(limits.max_running), self._prepare)
        # Read by the graphs where it lies: the rows of a step, and behind them all else that it is told.
        rows = max(_aligned(limits.max_batch_tokens), self._graphs.bucket(limits.max_running))
        _, kv_heads, _, dim = store.keys[0].shape
        self._kv_heads = kv_heads
        split = SPLIT_FIELDS * most_splits(limits.max_running, kv_heads) + limits.max_running + 2
        room = 2 * (FIELDS + 1) * rows + split + 2 * self._slots.tables.numel()
        self._numbers = torch.zeros(room, dtype=torch.int64, device=loaded.device)
        group = loaded.model.config.num_attention_heads // kv_heads
        self._block_tokens = block_tokens(group, dim, loaded.dtype.itemsize)
        register()
        loaded.model.set_attn_implementation(ATTENTION)

    def warm_up(self) -> None:
        """Compile the model and capture the decode steps; raises ModelLoadError where memory does not last."""
        with memory_lasts("lower engine.kv_memory_gib, or engine.max_batch_tokens"):
            if self._device.type == "cuda":
                compile_body(self._model, self._limits.kernel_cache, self.dummy_run)
                self._graphs.capture()
            self.dummy_run()
        if self._device.type == "cuda":
            settle_process()

    @torch.inference_mode()
    def dummy_run(self) -> None:
        """Compute the largest steps there can be, on nobody's pages: one of single tokens, one packed.

        The former comes first, as a compiler picks its kernels by the sizes it sees first, and most steps are such.
        """
        self._run(pack_rows((), self._slots, self._graphs.bucket(self._limits.max_running)))
        rows, longest = self._limits.max_batch_tokens, self._slots.width * self._store.page_size
        padding = pack_rows((), self._slots, _aligned(rows))
        padding[POSITIONS] = np.arange(padding.shape[1]) % longest
        chunks = [(self._slots.padding_slot, row, 0, min(longest, rows - row)) for row in range(0, rows, longest)]
        blocks = cut_blocks(np.array(chunks, dtype=np.int64), self._block_tokens)
        wanted = np.arange(min(rows, self._limits.max_running))
        step = self._packed(padding, 0, blocks, wanted)
        history = History(np.zeros(1, dtype=np.int64), 0)
        for params in _WAYS:
            asks = [SamplingRequest(params, 0, 0, history) for _ in wanted]
            self._chooser.choose(step.logits, step.likeliest, asks, wanted.tolist()).choices()

    @torch.inference_mode()
    def launch(self, works: Items[ScheduledChunk], asks: Items[SamplingRequest]) -> StepHandle:
        order = sorted(range(len(works)), key=lambda index: works[index].count > 1)
        ordered = [works[index] for index in order]
        step, logit_rows = self._decode_step(ordered) if ordered[-1].count == 1 else self._mixed_step(ordered)
        # Asks come in the order of the works, logits in that of their rows.
        row_of = dict(zip(order, logit_rows, strict=True))
        rows = [row_of[index] for index, work in enumerate(works) if work.completes]
        flight = self._chooser.choose(step.logits, step.likeliest, asks, rows)
        self._slots.newest.index_copy_(0, step.slots, step.likeliest[0])
        return flight

    def _decode_step(self, works: Items[ScheduledChunk]) -> tuple["_Logits", Items[int]]:
        """A step of one token for each of its sequences, and which row is whose."""
        bucket = self._graphs.bucket(len(works))
        logits, chosen = self._run(pack_rows(works, self._slots, bucket))
        return _Logits(logits, chosen, Rows.at(self._numbers, bucket).slots), range(len(works))

    def _run(self, packed: Ints) -> tuple[Tensor, Tensor]:
        """Upload a bucket's rows and run it."""
        self._fill(packed)
        return self._graphs.run(packed.shape[1])

    def _prepare(self, bucket: int) -> None:
        """Upload a bucket of padding alone."""
        self._fill(pack_rows((), self._slots, bucket))

    def _fill(self, packed: Ints) -> None:
        """Upload a bucket's rows, with as many items of their splits as its graph has programs."""
        most = most_splits(packed.shape[1], self._kv_heads)
        items, offsets = plan_splits(packed[POSITIONS], self._store.page_size, most)
        padding = np.zeros((most - len(items), SPLIT_FIELDS), dtype=np.int64)
        self._upload(packed, np.concatenate((items, padding)), offsets)

    def _decode(self, bucket: int) -> tuple[Tensor, Tensor]:
        """The part of such a step that is captured: from the numbers told to logits and likeliest tokens."""
        behind = self._numbers[FIELDS * bucket :]
        items = SPLIT_FIELDS * most_splits(bucket, self._kv_heads)
        splits = Splits(behind[:items].view(-1, SPLIT_FIELDS), behind[items : items + bucket + 1])
        logits = self._forward(Layout(Rows.at(self._numbers, bucket), bucket, splits), logit_rows=0)
        return logits, likeliest(logits)

    def _mixed_step(self, works: Items[ScheduledChunk]) -> tuple["_Logits", Items[int]]:
        """A step with chunks of prompts, and where the logits of each work are; only works that complete have any."""
        counts = [work.count for work in works]
        completing = [work.completes for work in works]
        ends = list(itertools.accumulate(counts))
        last_rows = [end - 1 for end, completes in zip(ends, completing, strict=True) if completes]
        rows = _aligned(ends[-1])
        packed = pack_rows(works, self._slots, rows)
        blocks = chunk_blocks(works, self._slots, rows, self._block_tokens)
        step = self._packed(packed, counts.count(1), blocks, np.array(last_rows, dtype=np.int64))
        return step, [before - 1 for before in itertools.accumulate(map(int, completing))]

    def _packed(self, packed: Ints, singles: int, blocks: Ints, logit_rows: Ints) -> "_Logits":
        planned = packed[POSITIONS, :singles]
        cut = plan_splits(planned, self._store.page_size, most_splits(singles, self._kv_heads)) if singles else ()
        told, *behind, wanted = self._upload(packed, blocks, *cut, logit_rows)
        splits = Splits(behind[0].view(-1, SPLIT_FIELDS), behind[1]) if singles else None
        rows = Rows.at(self._numbers, packed.shape[1])
        logits = self._forward(Layout(rows, singles, splits, told.view(-1, blocks.shape[1])), wanted)
        return _Logits(logits, likeliest(logits), rows.slots.index_select(0, wanted))

    def _upload(self, packed: Ints, *more: Ints) -> list[Tensor]:
        """Copy a step's numbers to the device, with the tables' changes; returns where those behind the rows are."""
        changes = self._slots.changes()
        parts = [packed.reshape(-1), *(each.reshape(-1) for each in more), changes.T.reshape(-1)]
        upload_into(self._numbers, np.concatenate(parts))
        ends = list(itertools.accumulate(map(len, parts)))
        told = [self._numbers[start:end] for start, end in itertools.pairwise(ends)]
        if len(changes):
            places, pages = told[-1].view(2, -1)
            self._slots.tables.view(-1).index_copy_(0, places, pages)
        self._slots.changed()
        return told[:-1]

    def _forward(self, layout: Layout, logit_rows: Tensor | int) -> Tensor:
        """Logits [n, vocab] in the model's own data type, of `logit_rows` (0: of all)."""
        rows = layout.rows
        with attending(self._attention(layout, self._slots.tables, self._store)):
            output = self._model(
                input_ids=rows.inputs(self._slots.newest)[None],
                position_ids=rows.positions[None],
                use_cache=False,
                logits_to_keep=logit_rows,
            )
        logits: Tensor = output.logits[0]
        return logits


def _aligned(rows: int) -> int:
    return -(-rows // _ALIGNED) * _ALIGNED


@dataclass(frozen=True, slots=True, eq=False)
class _Logits:
    """Logits [n, vocab], the likeliest token of each row (`triton_argmax.likeliest`), and whose slot it goes to."""

    logits: Tensor
    likeliest: Tensor
    slots: Tensor
