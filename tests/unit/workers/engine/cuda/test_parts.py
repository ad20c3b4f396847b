"""What the device's steps are made of, piece by piece: slots, rows, and sampling without a look at numbers."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.workers.engine.cuda.slots import Slots
from pelton.workers.engine.cuda.step_input import ON_DEVICE, chunk_blocks, pack_rows
from pelton.workers.engine.sampling.sampling import floor_by_halving, nucleus_floor
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from tests.unit.workers.engine._support.sequences import sequence

CPU = torch.device("cpu")


def told(slots: Slots) -> list[list[int]]:
    """The changes of a step that was launched."""
    changes = slots.changes().tolist()
    slots.changed()
    return changes


def test_slots_follow_their_sequences() -> None:
    """Pages are told once; a sequence that lost its pages tells all anew; slots of those that ended are given again."""
    slots = Slots(2, width=4, scratch_page=9, device=CPU)
    first, second = sequence(0, 5, [3]), sequence(1, 5, [4, 5])
    assert [slots.of(first), slots.of(second)] == [0, 1]
    assert told(slots) == [[0, 3], [4, 4], [5, 5]]
    first.pages.append(6)
    assert slots.of(first) == 0
    assert told(slots) == [[1, 6]]
    first.pages, first.stays = [7], 1
    assert slots.of(first) == 0
    assert told(slots) == [[0, 7]]
    second.pages, second.stays = [], 1
    third = sequence(2, 5, [8])
    assert slots.of(third) == 1
    assert told(slots) == [[4, 8]]
    assert slots.changes().shape == (0, 2)


def test_changes_of_a_step_that_was_not_launched_come_with_the_next() -> None:
    """Each place once, with its latest page: of two writes to one place either might win."""
    slots = Slots(2, width=4, scratch_page=9, device=CPU)
    first = sequence(0, 5, [3, 4])
    slots.of(first)
    assert slots.changes().tolist() == [[0, 3], [1, 4]]
    first.pages, first.stays = [7], 1
    slots.of(first)
    assert told(slots) == [[0, 7], [1, 4]]
    assert told(slots) == []


def test_rows_say_what_the_host_knows() -> None:
    """Known tokens are handed in, others are the device's; what is stored is written to the scratch page."""
    slots = Slots(4, width=4, scratch_page=9, device=CPU)
    waiting, fresh, stored, chunked = (sequence(index, 5, [index]) for index in range(4))
    waiting.reserve()
    works = [
        ScheduledChunk(waiting, 5, 1),
        ScheduledChunk(fresh, 4, 1),
        ScheduledChunk(stored, 4, 1, stored=True),
        ScheduledChunk(chunked, 1, 3),
    ]
    assert pack_rows(works, slots, 3, 8).tolist() == [
        [ON_DEVICE, 14, 14, 11, 12, 13, 0, 0],
        [0, 1, 2, 3, 3, 3, 4, 4],
        [0, 1, 4, 3, 3, 3, 4, 4],
        [5, 4, 4, 1, 2, 3, 0, 0],
    ]
    assert chunk_blocks(works, slots, 3, tokens=2).tolist() == [[3, 3, 1, 2], [3, 5, 3, 1]]


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), vocab=st.integers(1, 600), sharpness=st.floats(0.1, 20))
def test_halving_finds_the_nucleus(seed: int, vocab: int, sharpness: float) -> None:
    """The same nucleus as by sorting, with ties, certain tokens and a mass that rounding never reaches."""
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(size=(4, vocab)) * sharpness).float()
    logits[1] = logits[1].round()
    probs = logits.softmax(-1)
    top_p = torch.tensor([0.5, 0.9, float(generator.uniform(0.01, 0.99)), 0.99999])
    kept, expected = probs >= floor_by_halving(probs, top_p)[:, None], probs >= nucleus_floor(probs, top_p)
    # A sum in another order may fall on the other side of the mass asked for: then one token (or its equals) differs.
    for row in (kept != expected).any(dim=-1).nonzero().flatten().tolist():
        smaller = torch.where(kept[row] & expected[row], probs[row], 0.0).sum()
        assert abs(float(smaller) - float(top_p[row])) < 1e-5
