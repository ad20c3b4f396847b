"""The scheduler under any mix of arrivals, ends and page shortages: budgets kept, pages conserved, nobody starves."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.engine.api import EngineRequest, SamplingParams
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.scheduling.page_pool import PagePool
from pelton.workers.engine.scheduling.scheduler import Scheduler, SchedulerConfig
from pelton.workers.engine.scheduling.sequences import SequenceState

PAGE = 4


@dataclass
class World:
    """Runs plans as an engine would, without computing: every completed sequence gets a token derived from its text.

    `written` is what a KV store would contain: for each page the (position, digest of the text so far) of its slots.
    """

    num_pages: int = 12
    max_batch_tokens: int = 16
    max_running: int = 6
    max_overtakes: int = 3
    prefix_cache: bool = True
    gather_tokens: int = 0
    gather_steps: int = 0
    written: dict[tuple[int, int], bytes] = field(default_factory=dict)
    computed_tokens: int = 0

    def __post_init__(self) -> None:
        self.pool = PagePool(self.num_pages, PAGE)
        config = SchedulerConfig(
            self.max_batch_tokens,
            self.max_running,
            self.prefix_cache,
            self.max_overtakes,
            gather_tokens=self.gather_tokens,
            gather_steps=self.gather_steps,
        )
        self.scheduler = Scheduler(config, self.pool)
        self.limits: dict[int, int] = {}
        self.finished: list[int] = []
        self.arrivals = 0

    def add(self, prompt: list[int], new: int, priority: int = 0, salt: str = "") -> SequenceState:
        request = EngineRequest(self.arrivals, prompt, SamplingParams(new), priority=priority, cache_salt=salt)
        sequence = SequenceState(request, self.arrivals)
        self.limits[self.arrivals] = len(prompt) + new
        self.arrivals += 1
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[ScheduledChunk]:
        decoding = {each.id for each in self.scheduler.running if each.pages and each.pending == 1}
        works = self.scheduler.plan()
        self.check(works)
        order = [work.sequence.id in decoding and work.count == 1 for work in works]
        assert order == sorted(order, reverse=True), "decodes come first"
        for work in works:
            self.compute(work)
            self.scheduler.begin(work)
        for work in works:
            self.scheduler.complete(work)
            if work.completes:
                work.sequence.append(int(work.sequence.tokens.sum()) % 97)
                if work.sequence.length == self.limits[work.sequence.id]:
                    self.finished.append(work.sequence.id)
                    self.scheduler.remove(work.sequence)
        return works

    def compute(self, work: ScheduledChunk) -> None:
        """Every token attends to the keys of all tokens before it: they must be those of its own text. Nobody writes
        where others read."""
        sequence, end = work.sequence, work.start + work.count
        for position in range(end if work.stored else work.start):
            assert self.written[self.slot(sequence, position)] == sequence.tokens[: position + 1].tobytes()
        for position in range(end if work.stored else work.start, end):
            page, _ = slot = self.slot(sequence, position)
            assert self.pool._holders[page] == 1
            assert page not in self.pool._digest_of
            self.written[slot] = sequence.tokens[: position + 1].tobytes()
        self.computed_tokens += work.count

    def slot(self, sequence: SequenceState, position: int) -> tuple[int, int]:
        return sequence.pages[position // PAGE], position % PAGE

    def check(self, works: list[ScheduledChunk]) -> None:
        assert sum(work.count for work in works) <= self.max_batch_tokens
        assert len(works) <= self.max_running
        assert all(work.count >= 1 for work in works)
        assert len({work.sequence.id for work in works}) == len(works)
        for work in works:
            assert len(work.sequence.pages) >= self.pool.pages_for(work.start + work.count)
        self.check_pages()

    def check_pages(self) -> None:
        """Holders equal the pages that running sequences list; nothing is lost, nothing is in two states."""
        listed: dict[int, int] = {}
        for sequence in self.scheduler.running:
            assert len(set(sequence.pages)) == len(sequence.pages)
            for page in sequence.pages:
                listed[page] = listed.get(page, 0) + 1
        assert [listed.get(page, 0) for page in range(self.num_pages)] == self.pool._holders
        assert self.pool.available == self.num_pages - len(listed)


prompts = st.lists(st.integers(0, 1), min_size=1, max_size=24)
events = st.one_of(
    st.tuples(st.just("add"), prompts, st.integers(1, 12), st.integers(0, 1)),
    st.tuples(st.just("step"), st.integers(1, 4)),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
)


@settings(max_examples=300, deadline=None)
@given(
    story=st.lists(events, max_size=40),
    num_pages=st.integers(9, 20),
    max_batch_tokens=st.integers(6, 40),
    prefix_cache=st.booleans(),
    gather=st.sampled_from([(0, 0), (5, 2), (1000, 3)]),
)
def test_budgets_pages_and_progress(
    story: list[tuple], num_pages: int, max_batch_tokens: int, prefix_cache: bool, gather: tuple[int, int]
) -> None:
    """Whatever comes and goes, no step exceeds its budget, no page is lost or shared by different texts, every
    sequence reads keys of its own text only, and in the end all who were not cancelled are done."""
    gather_tokens, gather_steps = gather
    world = World(
        num_pages=num_pages,
        max_batch_tokens=max_batch_tokens,
        prefix_cache=prefix_cache,
        gather_tokens=gather_tokens,
        gather_steps=gather_steps,
    )
    cancelled = set()
    for kind, *details in story:
        if kind == "add" and len(world.scheduler.running) < world.max_running * (1 + details[2]):
            world.add(*details)
        elif kind == "step":
            for _ in range(details[0]):
                world.step()
        elif kind == "cancel" and details[0] < len(world.scheduler.running):
            sequence = world.scheduler.running[details[0]]
            cancelled.add(sequence.id)
            world.scheduler.remove(sequence)
            world.check_pages()
    longest = (1 + world.gather_steps) * sum(world.limits.values()) * world.max_running + 1
    for _ in range(longest):
        if not world.scheduler.running:
            break
        assert world.step(), "a step that computes nothing while somebody runs"
    assert set(world.finished) | cancelled == set(world.limits)
    assert world.pool.available == num_pages
    assert not world.scheduler._prefixes._computing


@given(waits=st.lists(st.integers(1, 40), min_size=1, max_size=30), running=st.integers(0, 3))
def test_selection_never_exceeds_pages_or_rows(waits: list[int], running: int) -> None:
    """What is selected fits beside what runs, and the first in line is in, or too large for what is left."""
    world = World()
    for index in range(running):
        world.add([index] * 7, 4)
    world.step()
    waiting = [QueuedRequest(None, tokens, 1, since=float(index)) for index, tokens in enumerate(waits)]
    chosen = world.scheduler.select(waiting).indexes
    missing = (world.pool.pages_for(each.length + 1) - len(each.pages) for each in world.scheduler.running)
    left = world.pool.available - sum(max(0, pages) for pages in missing)
    assert len(chosen) + running <= world.max_running
    assert sum(world.pool.pages_for(waits[index] + 1) for index in chosen) <= left
    if 0 not in chosen:
        assert world.pool.pages_for(waits[0] + 1) > left


def test_an_oversized_head_is_stepped_over_a_bounded_number_of_times() -> None:
    """Small requests pass one that waits for pages `max_overtakes` times; then all wait until it fits."""
    world = World(max_running=10)
    world.add([1] * 30, 8)
    world.step()
    head, small = QueuedRequest(None, 30, 1, since=0.0), QueuedRequest(None, 2, 1, since=1.0)
    passed = [world.scheduler.select([head, small]).indexes for _ in range(5)]
    assert passed == [(1,), (1,), (1,), (), ()]
    other = QueuedRequest(None, 31, 1, since=2.0)
    assert world.scheduler.select([other, small]).indexes == (1,)
    while world.scheduler.running:
        world.step()
    assert world.scheduler.select([head, small]).indexes == (0, 1)


def test_priority_decides_who_keeps_its_pages() -> None:
    """When pages run out, the youngest of the lowest priority gives its own back; higher priority computes first."""
    world = World(num_pages=6, max_batch_tokens=8)
    low, high = world.add([1] * 7, 12, priority=0), world.add([2] * 7, 12, priority=1)
    assert world.scheduler.plan()[0].sequence is high
    while world.scheduler.running:
        world.step()
    assert world.finished == [high.id, low.id]
    assert world.scheduler.preemptions >= 1


def test_a_higher_priority_takes_rows_within_a_step() -> None:
    """The youngest of the lower ones stands back for it, and goes on where it was when there is a row again."""
    world = World(num_pages=60, max_batch_tokens=60, max_running=3)
    batch = [world.add([index] * 9, 12) for index in range(3)]
    for _ in range(4):
        world.step()
    said = batch[2].length
    interactive = QueuedRequest(None, 5, 2, since=1.0, priority=1)
    waiting = [interactive, QueuedRequest(None, 5, 2, since=0.0)]
    assert world.scheduler.select(waiting).indexes == (0,)
    urgent = world.add([7] * 5, 2, priority=1)
    computed = [work.sequence for work in world.step()]
    assert urgent in computed
    assert batch[2] not in computed
    assert batch[2].length == said
    while world.scheduler.running:
        world.step()
    assert world.finished == [urgent.id, batch[0].id, batch[1].id, batch[2].id]
    assert world.computed_tokens < sum(world.limits.values()) + 9  # of what stood back nearly all was found again


def test_higher_priorities_leave_some_rows() -> None:
    """As many as lower ones can use, up to their share; without lower ones all rows are theirs."""
    world = World(num_pages=900, max_batch_tokens=60, max_running=20)
    urgent = [QueuedRequest(None, 5, 2, since=float(index), priority=1) for index in range(30)]
    low = [QueuedRequest(None, 5, 2, since=float(index)) for index in range(30)]
    assert world.scheduler.select(urgent).indexes == tuple(range(20))
    assert world.scheduler.select([*urgent, low[0]]).indexes == (*range(19), 30)
    assert world.scheduler.select([*urgent, *low]).indexes == (*range(18), 30, 31)


lanes = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 20)), max_size=20)


@given(running=lanes, waits=lanes)
def test_no_row_is_idle_while_somebody_could_run(running: list[tuple[int, int]], waits: list[tuple[int, int]]) -> None:
    """Work is conserved, in order of priority: with pages for all, rows are free only when nobody is left to wait."""
    world = World(num_pages=999, max_batch_tokens=60, max_running=12)
    for priority, length in running[:12]:
        world.add([1] * length, 2, priority)
    waiting = [QueuedRequest(None, size, 1, float(index), priority=lane) for index, (lane, size) in enumerate(waits)]
    waiting.sort(key=lambda each: -each.priority)
    chosen = [waiting[index] for index in world.scheduler.select(waiting).indexes]
    rows = 12 - len(running[:12])
    assert len(chosen) >= min(rows, len(waiting))
    if left_out := [each for each in waiting if each.priority == 1 and each not in chosen]:
        higher = sum(priority for priority, _ in running[:12]) + sum(each.priority for each in chosen)
        assert higher >= 12 - 1, left_out  # a tenth of twelve rows is one


def test_a_shared_prefix_is_computed_once() -> None:
    """Of many sequences with the same beginning that arrive together one computes it; the others take its pages."""
    world = World(num_pages=40, max_running=6)
    filing = list(range(1, 21))
    for question in range(6):
        world.add([*filing, 50 + question], 3)
    while world.scheduler.running:
        world.step()
    assert world.computed_tokens == 20 + 6 * 3
    assert (world.scheduler.prefix_stats.hit, world.scheduler.prefix_stats.asked) == (100, 126)


@pytest.mark.parametrize(("other", "hit"), [("alice", 11), ("bob", 0), ("", 0)])
def test_tenants_do_not_share_unless_they_have_one_salt(other: str, hit: int) -> None:
    """The same text under another salt is another text: nobody learns from timing what somebody else asked."""
    world = World()
    for salt in ("alice", other):
        world.add([7] * 12, 1, salt=salt)
        while world.scheduler.running:
            world.step()
    assert world.scheduler.prefix_stats.hit == hit


def test_a_full_hit_still_computes_a_token() -> None:
    """A prompt that is cached to its last token computes that token again, for the logits behind it, and no more."""
    world = World()
    for _ in range(2):
        sequence = world.add([3] * 8, 1)
        world.step()
    assert (sequence.cached, world.computed_tokens) == (7, 9)


def test_generated_tokens_are_found_by_the_next_turn() -> None:
    """A conversation's next turn, which begins with the last prompt and its answer, finds the pages of both."""
    world = World(num_pages=20)
    first = world.add([1, 2, 3, 4, 5, 6], 8)
    while world.scheduler.running:
        world.step()
    second = world.add([*map(int, first.tokens), 60, 61], 1)
    world.step()
    assert second.cached == 12


def test_the_longest_idle_pages_are_forgotten_first_and_ends_before_beginnings() -> None:
    """Room is made by forgetting what was used longest ago; of one text its tail goes before its head."""
    world = World(num_pages=6)
    for token in (1, 2):
        world.add([token] * 9, 1)
        world.step()
    world.add([3] * 9, 1)
    world.step()
    caches = []
    for token in (2, 1):
        sequence = world.add([token] * 9, 1)
        world.step()
        caches.append(sequence.cached)
    assert caches == [8, 4]


def test_a_sequence_that_cannot_be_trusted_leaves_nothing_behind() -> None:
    """After a fault the pages are free and nobody is served from them."""
    world = World()
    sequence = world.add([5] * 9, 4)
    world.step()
    world.scheduler.remove(sequence, trusted=False)
    assert (world.pool.available, world.pool.idle) == (world.num_pages, 0)
    assert world.add([5] * 9, 1).cached == 0


def test_prompts_gather_beside_decodes() -> None:
    """They start when enough tokens wait or the first has waited long enough; at once where nobody decodes."""
    world = World(num_pages=60, max_batch_tokens=40, gather_tokens=10, gather_steps=3)
    world.add([1] * 3, 20)
    assert [work.count for work in world.step()] == [3]
    world.add([2] * 4, 5)
    assert [[work.count for work in world.step()] for _ in range(4)] == [[1], [1], [1], [1, 4]]
    world.add([3] * 4, 5)
    assert [work.count for work in world.step()] == [1, 1]
    world.add([4] * 6, 5)
    assert [work.count for work in world.step()] == [1, 1, 4, 6]
    while world.scheduler.running:
        world.step()
    world.add([5] * 2, 1)
    assert [work.count for work in world.step()] == [2]


def test_impossible_sizes_are_refused() -> None:
    """A sequence larger than the pool, a pool without pages, more rows than a step has tokens: said at once."""
    with pytest.raises(ValueError, match="more than all KV pages hold"):
        World().add([1] * 40, 20)
    with pytest.raises(ValueError, match="at least one page"):
        PagePool(0, 16)
    with pytest.raises(ValueError, match="max_running must be between"):
        SchedulerConfig(max_batch_tokens=4, max_running=5)
    pool = PagePool(2, 4)
    with pytest.raises(ValueError, match="more often"):
        pool.release([0])


def test_digests_are_chained_and_continue() -> None:
    """A page's digest depends on all before it; continued digests equal those made at once."""
    a, b = np.arange(12), np.concatenate(([9], np.arange(1, 12)))
    world = World()
    first, second = world.add(a.tolist(), 4), world.add(b.tolist(), 1)
    assert not set(first.digests(PAGE)) & set(second.digests(PAGE))
    for token in range(4):
        first.append(token)
    assert first.digests(PAGE) == World().add([*range(12), *range(4)], 1).digests(PAGE)


@settings(deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(1, 12), st.integers(0, 1)), min_size=1, max_size=14
    )
)
def test_nobody_stands_back_while_one_later_in_order_goes_on(arrivals: list[tuple[int, int, int, int]]) -> None:
    """Rows and pages are taken from the last in order, by priority and then by arrival, whoever comes when."""
    world = World()
    for gap, prompt, new, priority in arrivals:
        for _ in range(gap):
            _step_in_order(world)
        world.add(list(range(prompt)), new, priority)
    for _ in range(1_000):
        if not world.scheduler.running:
            break
        _step_in_order(world)
    assert sorted(world.finished) == list(range(len(arrivals)))


def _step_in_order(world: World) -> None:
    before = {each: each.stays for each in world.scheduler.running if each.pages}
    works = world.step()
    stood_back = [each for each, stays in before.items() if each.stays > stays and each.id not in world.finished]
    going_on = [work.sequence for work in works]
    assert all(one.order < other.order for other in stood_back for one in going_on)
