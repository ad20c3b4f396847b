"""Steps on a GPU, launched one behind the other without waiting for their tokens (`workers/engine/execution.py`).

The host knows a step's sequences, positions and pages ahead of its tokens. It tells them in one copy (`rows.py`); the
tokens stay on the device, in their sequences' slots (`slots.py`), and are copied to the host behind the step. Steps of
one token per sequence run as CUDA graphs (`graphs.py`); with a prompt's chunk among them, as one packed forward pass.
"""

import itertools
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.engine.chooser import Ask
from workers.engine.cuda.attention import AttentionFactory, Layout, TritonAttention
from workers.engine.cuda.choosing import DeviceChooser
from workers.engine.cuda.graphs import Graphs, buckets_for
from workers.engine.cuda.paged_op import ATTENTION, attending, register
from workers.engine.cuda.rows import FIELDS, Ints, Rows, chunk_blocks, pack_rows
from workers.engine.cuda.slots import Slots
from workers.engine.cuda.triton_argmax import likeliest
from workers.engine.cuda.triton_prefill import block_tokens
from workers.engine.execution import Flight
from workers.engine.kv_memory import Limits
from workers.engine.kv_store import KvStore
from workers.engine.loading import LoadedModel
from workers.engine.scheduler import Work
from workers.engine.transfer import upload_into


class DeviceExecutor:
    """Implements `Executor`; runs one step behind the host, so that the device never waits for it."""

    lateness = 1

    def __init__(
        self, loaded: LoadedModel, store: KvStore, limits: Limits, attention: AttentionFactory = TritonAttention
    ) -> None:
        self._model: Any = loaded.model
        self._store = store
        self._device = loaded.device
        self._attention = attention
        width = -(-loaded.context_length // limits.page_size)
        self._slots = Slots(limits.max_running, width, store.scratch, loaded.device)
        self._chooser = DeviceChooser(loaded.device)
        self._graphs = Graphs(self._decode, buckets_for(limits.max_running))
        # Read by the graphs where it lies: the rows of a step, and behind them all else that it is told.
        rows = max(limits.max_batch_tokens, self._graphs.bucket(limits.max_running))
        room = 2 * (FIELDS + 1) * rows + 2 * self._slots.tables.numel()
        self._numbers = torch.zeros(room, dtype=torch.int64, device=loaded.device)
        _, kv_heads, _, dim = store.keys[0].shape
        group = loaded.model.config.num_attention_heads // kv_heads
        self._block_tokens = block_tokens(group, dim, store.keys[0].element_size())
        register()
        loaded.model.set_attn_implementation(ATTENTION)

    def warm_up(self) -> None:
        """Compile the model and capture the decode steps."""

    @torch.inference_mode()
    def launch(self, works: Items[Work], asks: Items[Ask]) -> Flight:
        order = sorted(range(len(works)), key=lambda index: works[index].count > 1)
        ordered = [works[index] for index in order]
        if ordered[-1].count == 1:
            step, logit_rows = self._singles(ordered), range(len(ordered))
        else:
            step, logit_rows = self._mixed(ordered)
        # Asks come in the order of the works, logits in that of their rows.
        row_of = dict(zip(order, logit_rows, strict=True))
        rows = [row_of[index] for index, work in enumerate(works) if work.completes]
        flight = self._chooser.choose(step.logits, step.likeliest, asks, rows)
        self._slots.newest.index_copy_(0, step.slots, step.likeliest[0])
        return flight

    def _singles(self, works: Items[Work]) -> "_Logits":
        """A step of one token for each of its sequences."""
        bucket = self._graphs.bucket(len(works))
        self._tell(pack_rows(works, self._slots, bucket))
        logits, chosen = self._graphs.run(bucket)
        return _Logits(logits, chosen, Rows.at(self._numbers, bucket).slots)

    def _decode(self, bucket: int) -> tuple[Tensor, Tensor]:
        """The part of such a step that is captured: from the numbers told to logits and likeliest tokens."""
        rows = Rows.at(self._numbers, bucket)
        logits = self._forward(Layout(rows, bucket), logit_rows=0)
        return logits, likeliest(logits)

    def _mixed(self, works: Items[Work]) -> tuple["_Logits", list[int]]:
        """A step with chunks of prompts; only rows that complete a sequence get logits, in the order of `works`."""
        counts = [work.count for work in works]
        ends = list(itertools.accumulate(counts))
        completing = [work.completes for work in works]
        last_rows = [end - 1 for end, completes in zip(ends, completing, strict=True) if completes]
        blocks = chunk_blocks(works, self._slots, self._block_tokens)
        packed = pack_rows(works, self._slots, ends[-1])
        told, wanted = self._tell(packed, blocks, np.array(last_rows, dtype=np.int64))
        rows = Rows.at(self._numbers, ends[-1])
        layout = Layout(rows, counts.count(1), told.view(-1, blocks.shape[1]))
        logits = self._forward(layout, wanted)
        logit_rows = [number - 1 for number in itertools.accumulate(map(int, completing))]
        return _Logits(logits, likeliest(logits), rows.slots.index_select(0, wanted)), logit_rows

    def _tell(self, packed: Ints, *more: Ints) -> list[Tensor]:
        """Copy a step's numbers to the device, the tables' changes with them; returns where those after the rows are."""
        changes = self._slots.changes()
        parts = [packed.reshape(-1), *(each.reshape(-1) for each in more), changes.T.reshape(-1)]
        upload_into(self._numbers, np.concatenate(parts))
        *told, last = self._numbers[: sum(map(len, parts))].split([len(part) for part in parts])[1:]
        if len(changes):
            places, pages = last.view(2, -1)
            self._slots.tables.view(-1).index_copy_(0, places, pages)
        return told

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


@dataclass(frozen=True, slots=True, eq=False)
class _Logits:
    """Logits [n, vocab], the likeliest token of each row (`triton_argmax.likeliest`), and whose slot it goes to."""

    logits: Tensor
    likeliest: Tensor
    slots: Tensor
