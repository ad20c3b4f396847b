"""Steps on a GPU, launched one behind the other without waiting for their tokens
(`workers/engine/continuous/executors.py`).

The host knows a step's sequences, positions and pages ahead of its tokens. It tells them in one copy (`step_input.py`);
the tokens stay on the device, in their sequences' slots (`slots.py`), and are copied to the host behind the step. All
that a step does from the numbers told to its likeliest tokens is a CUDA graph (`graphs.py`) where it is of one token
per sequence, or has chunks of prompts that are few enough; others are one packed forward pass, launched as it is.
"""

from collections.abc import Sequence as Items
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.cuda.attention import AttentionFactory, Layout, TritonAttention
from pelton.workers.engine.cuda.compiling import compile_body
from pelton.workers.engine.cuda.environment import keep_kernels, settle_process
from pelton.workers.engine.cuda.graphs import Graphs
from pelton.workers.engine.cuda.kernels.argmax import likeliest
from pelton.workers.engine.cuda.kernels.prefill import block_tokens
from pelton.workers.engine.cuda.kernels.splits import SPLIT_FIELDS, most_splits
from pelton.workers.engine.cuda.paged_op import ATTENTION, attending, paged_attention, register
from pelton.workers.engine.cuda.sampler import DeviceSampler, is_greedy
from pelton.workers.engine.cuda.slots import Slots
from pelton.workers.engine.cuda.step_input import PackedStep, StepPacker, StepTensors
from pelton.workers.engine.cuda.step_shape import FIELDS, StepShape, aligned, decode_shapes, mixed_shapes
from pelton.workers.engine.executor import StepHandle
from pelton.workers.engine.faults import memory_lasts
from pelton.workers.engine.layers.operator_attention import fuse_into_operator
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.sampling.penalties import History
from pelton.workers.engine.sampling.sampler import SamplingRequest
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.transfer import upload, upload_into

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
        _, kv_heads, _, dim = store.keys[0].shape
        tokens = block_tokens(loaded.model.config.num_attention_heads // kv_heads, dim, loaded.dtype.itemsize)
        self._packer = StepPacker(self._slots, limits.page_size, kv_heads, tokens)
        decodes = decode_shapes(limits.max_running, kv_heads)
        self._mixed = mixed_shapes(
            limits.max_running, limits.max_batch_tokens, kv_heads, _layer_weights(loaded.model), tokens
        )
        wanted = max((shape.wanted or 0 for shape in self._mixed), default=0)
        logits = torch.empty(wanted, loaded.model.config.vocab_size, dtype=loaded.dtype, device=loaded.device)
        self._graphs = Graphs(self._compute, decodes, self._mixed, self._prepare, logits)
        # Read by the steps where it lies. As long as a captured one's numbers, and as those of one that is not can be:
        # with a block for each row, and all tables anew.
        longest = (2 * FIELDS + 1) * aligned(limits.max_batch_tokens) + 2 * limits.max_running + 1
        longest += SPLIT_FIELDS * most_splits(limits.max_running, kv_heads) + 2 * self._slots.tables.numel()
        room = max(longest, *(sum(shape.parts) for shape in self._graphs.shapes))
        self._numbers = torch.zeros(room, dtype=torch.int64, device=loaded.device)
        register()
        loaded.model.set_attn_implementation(ATTENTION)
        fuse_into_operator(loaded.model, paged_attention)

    @property
    def largest_captured(self) -> int:
        """Rows of the largest step with chunks that is captured; 0 where none is."""
        return max((shape.rows for shape in self._mixed), default=0)

    def warm_up(self) -> None:
        """Compile the model and capture steps; raises ModelLoadError where memory does not last."""
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
        self._run(self._packer.padding(self._graphs.decode_shape(self._limits.max_running)))
        wanted = min(self._limits.max_batch_tokens, self._limits.max_running)
        logits, chosen = self._run(self._packer.largest(self._limits.max_batch_tokens, wanted))
        history = History(np.zeros(1, dtype=np.int64), 0)
        for params in _WAYS:
            asks = [SamplingRequest(params, 0, 0, history) for _ in range(wanted)]
            self._chooser.choose(logits, chosen, asks, range(wanted)).choices()

    @torch.inference_mode()
    def launch(self, works: Items[ScheduledChunk], asks: Items[SamplingRequest]) -> StepHandle:
        order = sorted(range(len(works)), key=lambda index: works[index].count > 1)
        ordered = [works[index] for index in order]
        decodes = ordered[-1].count == 1
        bucket = (
            self._graphs.decode_shape(len(works)) if decodes else self._graphs.mixed_shape(self._packer.needed(ordered))
        )
        step = self._packer.pack(ordered, bucket)
        logits, chosen = self._run(step)
        # Logits come in the order of their rows, and where there are chunks only those of works that complete; asks
        # come in the order of the works.
        having = order if decodes else [index for index in order if works[index].completes]
        row_of = {index: row for row, index in enumerate(having)}
        rows = [row_of[index] for index, work in enumerate(works) if work.completes]
        flight = self._chooser.choose(logits, chosen, asks, rows)
        if not all(map(is_greedy, asks)):
            self._keep_newest(StepTensors.at(self._numbers, step.shape), chosen)
        return flight

    def _run(self, step: PackedStep) -> tuple[Tensor, Tensor]:
        """Upload a step's numbers and compute it."""
        self._upload(step)
        return self._graphs.run(step.shape)

    def _prepare(self, shape: StepShape) -> None:
        self._upload(self._packer.padding(shape))

    def _upload(self, step: PackedStep) -> None:
        if len(step.early):
            places, pages = upload(step.early.T, torch.int64, self._device).unbind(0)
            self._slots.tables.view(-1).index_copy_(0, places, pages)
        upload_into(self._numbers, step.numbers)
        self._slots.changed()

    def _compute(self, shape: StepShape) -> tuple[Tensor, Tensor]:
        """The part of a step that may be captured: from the numbers told to logits [n, vocab] and likeliest tokens."""
        told = StepTensors.at(self._numbers, shape)
        self._slots.tables.view(-1).index_copy_(0, told.places, told.pages)
        layout = Layout(told.rows, shape.singles, told.splits, told.blocks)
        logits = self._forward(layout, 0 if told.wanted is None else told.wanted)
        chosen = likeliest(logits)
        self._keep_newest(told, chosen)
        return logits, chosen

    def _keep_newest(self, told: StepTensors, chosen: Tensor) -> None:
        self._slots.newest.index_copy_(0, told.targets, chosen[0])

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


def _layer_weights(model: Any) -> float:
    """How many numbers a layer of a causal language model has, on the average."""
    layers: nn.ModuleList = model.get_decoder().layers
    return sum(parameter.numel() for parameter in layers.parameters()) / len(layers)
