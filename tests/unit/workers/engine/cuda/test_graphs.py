"""Which steps are captured, what they are filled up with, and that nobody's answer is changed by it."""

import contextlib
import copy
import logging
import time
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.cuda import executor as executor_module
from pelton.workers.engine.cuda.executor import DeviceExecutor
from pelton.workers.engine.cuda.graphs import Graphs
from pelton.workers.engine.cuda.kernels.prefill import block_tokens
from pelton.workers.engine.cuda.slots import Slots
from pelton.workers.engine.cuda.step_input import StepPacker, StepTensors
from pelton.workers.engine.cuda.step_shape import StepShape, aligned, buckets_for, decode_shapes, mixed_shapes
from pelton.workers.engine.model.loading import wrap
from pelton.workers.engine.sampling.sampling import broken_rows
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from tests.unit.workers.engine._support.plain_attention import late_engine
from tests.unit.workers.engine._support.reference import PAGE, pristine, run
from tests.unit.workers.engine._support.replayed import Steps, replay_on_the_cpu
from tests.unit.workers.engine._support.sequences import sequence

QWEN3_LAYER, LLAMA_8B_LAYER = 15.7e6, 218e6
BLOCK, SCRATCH = 4, 90


@given(most=st.integers(1, 1000))
def test_buckets(most: int) -> None:
    """Every number of rows has one; small ones waste less than half of it, and there are never many."""
    buckets = buckets_for(most)
    graphs = Graphs(compute_nothing, decode_shapes(most, 8), [], lambda _: None, torch.empty(0))
    assert buckets == sorted(set(buckets))
    assert buckets[-1] == max(2, most)
    assert len(buckets) <= 32
    assert all(rows <= graphs.decode_shape(rows).singles <= max(2, 2 * rows) for rows in range(1, most + 1))


def compute_nothing(_: StepShape) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty(0), torch.empty(0)


def test_mixed_shapes_of_the_models_that_are_measured() -> None:
    """A small model's steps with as many tokens as gather are captured; of a large one's, which keep a card busy by
    themselves, only small ones. Few numbers of decodes; 107 MB of logits for all of the former.
    """
    small = mixed_shapes(256, 8192, 8, QWEN3_LAYER, block_tokens(2, 128, 2))
    assert {shape.singles for shape in small} == {8, 128, 256}
    assert {shape.chunked for shape in small} == {256, 512, 1024, 1536, 2048, 2560, 3072}
    assert max(shape.wanted or 0 for shape in small) == 256 + 96
    large = mixed_shapes(256, 8192, 8, LLAMA_8B_LAYER, block_tokens(4, 128, 2))
    assert max(shape.chunked for shape in large) == 416
    assert mixed_shapes(256, 8192, 8, 1e12, 32) == []


@given(most=st.integers(1, 600), tokens=st.integers(1, 10_000), weights=st.floats(1e3, 1e12))
def test_there_are_never_many_mixed_shapes(most: int, tokens: int, weights: float) -> None:
    """Each is captured in the same time, and kept: 21 at most, of rows that the kernels were compiled for."""
    shapes = mixed_shapes(most, tokens, 8, weights, 32)
    assert len(shapes) == len(set(shapes)) <= 21
    assert all(shape.rows % 8 == 0 and shape.singles <= aligned(most) for shape in shapes)
    assert all(shape.chunked <= aligned(min(3072, tokens)) for shape in shapes)


def packer(slots: Slots) -> StepPacker:
    return StepPacker(slots, page_size=8, kv_heads=2, block_tokens=BLOCK)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8), parts=st.integers(0, 255))
def test_padding_is_nobodys(lengths: list[int], parts: int) -> None:
    """In a captured shape each row of a work is its block's or its single's. All others read and write the scratch
    page, have no block, and give their token to the padding slot.
    """
    slots = Slots(8, width=8, scratch_page=SCRATCH, device=torch.device("cpu"))
    works = []
    for index, count in enumerate(sorted(lengths, key=lambda count: count > 1)):
        owner = sequence(index, 5 + count + (parts >> index & 1), list(range(8 * index, 8 * index + 8)))
        works.append(ScheduledChunk(owner, 5, count))
    needed = packer(slots).needed(works)
    shape = next((shape for shape in mixed_shapes(8, 256, 2, 1e6, BLOCK) if shape.holds(needed)), None)
    assume(shape is not None)
    assert shape is not None
    step = packer(slots).pack(works, shape)
    told = StepTensors.at(torch.from_numpy(step.numbers), shape)
    assert len(step.numbers) == sum(shape.parts)
    changed = [*map(tuple, step.early.tolist()), *zip(told.places.tolist(), told.pages.tolist(), strict=True)]
    padding = slots.padding_slot
    for place, page in changed:
        slot, index = divmod(place, slots.width)
        assert page == (SCRATCH if slot == padding else works[slot].sequence.pages[index])
    assert len(set(changed) - {(padding * slots.width, SCRATCH)}) == 8 * len(works)
    mine = {row: (slots.of(work.sequence), 5) for row, work in enumerate(works) if work.count == 1}
    assert told.blocks is not None
    for slot, row, start, count in told.blocks.tolist():
        assert count <= BLOCK
        rows = {row + offset: (slot, start + offset) for offset in range(count)}
        assert not mine.keys() & rows.keys()
        mine |= rows
    assert sorted(mine.values()) == sorted(
        (slots.of(each.sequence), 5 + at) for each in works for at in range(each.count)
    )
    expected = [mine.get(row, (padding, 0)) for row in range(shape.rows)]
    assert list(zip(told.rows.slots.tolist(), told.rows.positions.tolist(), strict=True)) == expected
    assert torch.equal(told.rows.slots, told.rows.writes)
    assert told.wanted is not None
    ends = {slot: row for row, (slot, _) in sorted(mine.items())}
    wanted = [(ends[slots.of(work.sequence)], slots.of(work.sequence)) for work in works if work.completes]
    nobody = [(0, padding)] * ((shape.wanted or 0) - len(wanted))
    assert list(zip(told.wanted.tolist(), told.targets.tolist(), strict=True)) == wanted + nobody


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Graphs and the choice of tokens in plain PyTorch."""

    def likeliest(logits: torch.Tensor) -> torch.Tensor:
        return torch.stack((logits.argmax(-1), broken_rows(logits).long()))

    monkeypatch.setattr(executor_module, "likeliest", likeliest)
    return replay_on_the_cpu(monkeypatch)


def captured_engine(family: str, **limits: Any) -> tuple[ContinuousEngine, DeviceExecutor]:
    engine = late_engine(wrap(copy.deepcopy(pristine(family))), page_size=PAGE, **limits)
    executor = engine._executor
    assert isinstance(executor, DeviceExecutor)
    executor._graphs.capture()
    return engine, executor


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_answers_from_captured_steps(family: str, steps: Steps) -> None:
    """Decodes alone, and beside chunks, replayed in shapes that they do not fill: what `generate` says to each prompt.

    Steps with more prompts than their shapes have room for are computed as they are.
    """
    engine, executor = captured_engine(family, max_batch_tokens=24, max_running=6)
    run(engine, family, [(1, 4), (23, 1), (5, 2), (40, 7), (12, 5), (30, 1)])
    mixed = [shape for shape in steps.replayed if shape.chunked]
    assert len(mixed) >= 2
    assert set(steps.replayed) - set(mixed) <= set(executor._graphs._decodes)
    run(engine, family, [(2, 4), (3, 1), (4, 2), (5, 7), (2, 5), (3, 3)])
    assert len(steps.computed) == 1
    [crowded] = steps.computed
    assert crowded.wanted == 6  # of which four are chunks' ends, and the shapes have room for two


def test_capturing_changes_no_page(steps: Steps) -> None:
    """Whatever the shape, a run on padding alone writes the scratch page and no other."""
    engine, executor = captured_engine("llama", max_batch_tokens=24, max_running=6)
    stores = [tensor for each in (engine._store.keys, engine._store.values) for tensor in each]
    for tensor in stores:
        tensor.fill_(3.0)
    with torch.inference_mode():
        for shape in executor._graphs.shapes:
            executor._prepare(shape)
            executor._graphs.run(shape)
    assert sum(steps.replayed.values()) == len(executor._graphs.shapes) > 4
    assert all((tensor[: engine._store.null_page] == 3.0).all() for tensor in stores)
    assert all((tensor[engine._store.null_page] != 3.0).any() for tensor in stores)


def test_tables_that_a_shape_has_no_room_for_are_told_before_it(steps: Steps) -> None:
    """A long text whose pages were all found begins as a single row, with more pages than rows have changes."""
    engine, _ = captured_engine("llama", max_batch_tokens=24, max_running=2)
    for _ in range(2):
        run(engine, "llama", [(64, 4)], new=2)
    assert engine.prefix_stats.hit >= 64 - PAGE
    assert not any(shape.chunked == 0 for shape in steps.computed)


class Graph:
    """Counts its replays."""

    replayed = 0

    def replay(self) -> None:
        Graph.replayed += 1


@pytest.fixture
def graphs_without_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    Graph.replayed = 0
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: contextlib.nullcontext())


@pytest.mark.usefixtures("graphs_without_a_card")
def test_steps_that_cannot_be_captured_run_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """What was captured is replayed, the rest computed; the log tells of both."""
    calls = []

    def compute(shape: StepShape) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(shape.rows)
        if shape.rows == 4 and len(calls) == 4:
            raise RuntimeError("operation not permitted when stream is capturing")
        return torch.full((shape.rows,), len(calls)), torch.zeros(shape.rows)

    prepared: list[StepShape] = []
    shapes = [StepShape(2), StepShape(4), StepShape(8)]
    mixed = [StepShape(8, 8, blocks=4, wanted=10)]
    graphs = Graphs(compute, shapes, mixed, prepared.append, torch.empty(0))
    with caplog.at_level(logging.INFO):
        graphs.capture()
    assert "Captured steps of 8 rows (1 of 4" in caplog.text
    assert "Steps of 4 rows could not be captured" in caplog.text
    assert calls == [8, 8, 4, 4]
    assert prepared == [shapes[2], shapes[1]]  # a run on numbers of another layout would read pages that are nowhere
    assert graphs.run(shapes[2])[0].tolist() == [2] * 8
    assert Graph.replayed == 1
    assert graphs.run(shapes[0])[0].tolist() == [5] * 2
    assert Graph.replayed == 1
    assert graphs.mixed_shape(StepShape(1, 2, blocks=1, wanted=2)) is None


@pytest.mark.usefixtures("graphs_without_a_card")
def test_steps_with_chunks_take_little_of_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds at most, whatever a capture takes; those of one token are captured however long it takes, and those
    of most decodes before others. What is left out is computed as it is.
    """
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    decodes, mixed = decode_shapes(32, 2), mixed_shapes(32, 256, 2, 1e6, 32)
    logits = torch.empty(64, 1)
    rows = [torch.empty(shape.wanted or shape.rows, 1) for shape in (*decodes, *mixed)]
    found = dict(zip((*decodes, *mixed), rows, strict=True))
    graphs = Graphs(lambda shape: (found[shape], found[shape]), decodes, mixed, lambda _: None, logits)
    graphs.capture()
    captured = [shape for shape in graphs._captured if shape.chunked]
    assert set(decodes) < set(graphs._captured)
    assert [(shape.singles, shape.chunked) for shape in captured] == [(32, 256), (32, 216)]
    assert graphs.mixed_shape(StepShape(4, 30, blocks=1, wanted=4)) == captured[1]
    assert graphs.mixed_shape(StepShape(4, 250, blocks=9, wanted=4)) == captured[0]
    assert graphs.mixed_shape(StepShape(33, 30, blocks=1, wanted=4)) is None
    # All steps with chunks leave their logits in the same memory.
    assert all(graphs.run(shape)[0].data_ptr() == logits.data_ptr() for shape in captured)
