"""The inference thread with an engine of our making: what it retries, isolates, refuses and writes down."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, cast

import pytest

from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FailureKind,
    FinishReason,
    Outcome,
    Selection,
    Waiting,
)
from pelton.workers.engine.stats import StepStats
from pelton.workers.inference.crash_protection import CrashProtection
from pelton.workers.inference.retries import RetryPolicy
from pelton.workers.inference.thread import EngineFailed, Inference
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.requests import Delivery, Generated, PreparedRequest
from pelton.workers.sharing.generation import Broken, Computed, Finished, Generation

BODY = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
LIMIT_S = 20


@dataclass
class ScriptedEngine:
    """Finishes in one step all that was added; a request is known by its one prompt token.

    An `endless` one stays until it is cancelled.
    """

    failures: dict[int, list[FailureKind]] = field(default_factory=dict)
    """What becomes of a request's first attempts."""
    endless: set[int] = field(default_factory=set)
    on_step: Callable[[list[int]], None] = lambda _: None
    context_length: int = 1_000
    max_batch_tokens: int = 1_000
    last_step: StepStats | None = None
    steps: list[list[int]] = field(default_factory=list)
    _added: list[EngineRequest] = field(default_factory=list)
    _cancelled: set[int] = field(default_factory=set)

    @property
    def running(self) -> int:
        return len(self._added)

    def warm_up(self) -> None: ...

    def select(self, waiting: Sequence[Waiting], now: float) -> Selection:
        del now
        return Selection(tuple(range(len(waiting))))

    def add(self, request: EngineRequest) -> None:
        self._added.append(request)

    def cancel(self, request_id: int) -> None:
        self._cancelled.add(request_id)

    def step(self) -> list[Outcome]:
        if self._added:
            self.steps.append([request.prompt[0] for request in self._added])
            self.on_step(self.steps[-1])
        stays = [
            request
            for request in self._added
            if request.prompt[0] in self.endless
            and request.id not in self._cancelled
            and not self.failures.get(request.prompt[0])
        ]
        outcomes = [self._outcome(request) for request in self._added if request not in stays]
        self._added = stays
        return outcomes

    def _outcome(self, request: EngineRequest) -> Outcome:
        if script := self.failures.get(request.prompt[0]):
            return Failure(request.id, script.pop(0), "As the script says.")
        if request.id in self._cancelled:
            return Failure(request.id, FailureKind.CANCELLED, "It was cancelled.")
        return Completion(request.id, (0,), FinishReason.STOP, 0.0, 0.0)


def source(number: int) -> Source:
    return Source("requests", 0, number)


def place(number: int) -> QueuedRequest[Generation]:
    record = RequestRecord(source(number), None, b"", [], 0, 0)
    delivery = Delivery(record, read_envelope(record.source, (), ReplyPolicy("replies")), OffsetTracker(), 0.0, 0.0)
    job = PreparedRequest(delivery, ChatRequest.model_validate(BODY), [number], 1)
    generation = Generation(None, job)
    generation.add(job)
    return QueuedRequest(generation, 1, 1, 0.0)


class Bench:
    """An inference thread between a queue and its results."""

    def __init__(self, engine: ScriptedEngine, guard: CrashProtection) -> None:
        self.line: RequestQueue[Generation] = RequestQueue(max_tokens=1_000, max_requests=100)
        self._results: LingerQueue[Finished] = LingerQueue(100)
        self.held: set[int] = set()
        self.left: SimpleQueue[Generation] = SimpleQueue()
        self.inference = Inference(
            cast(Any, engine), self.line, self._results, Metrics(), guard, left=self.left, runnable=self._runnable
        )

    def _runnable(self, places: Sequence[QueuedRequest[Generation]], chosen: Sequence[int]) -> Sequence[int]:
        return [index for index in chosen if places[index].item.job.prompt[0] not in self.held]

    async def run(self, numbers: Sequence[int]) -> dict[int, Generated | Broken]:
        """Put all in at once; return what came of them by number. Raises what the thread raises."""
        return await self.finish([place(number) for number in numbers], len(numbers))

    async def finish(self, places: Sequence[QueuedRequest[Generation]], count: int) -> dict[int, Generated | Broken]:
        """The same for these, of which so many come to something."""
        for one in places:
            await self.line.put(one)
        done = self.inference.start()
        done.add_done_callback(lambda _: self._results.close())
        found: dict[int, Generated | Broken] = {}
        async with asyncio.timeout(LIMIT_S):
            async for results in self._results.batches():
                for result in results:
                    assert isinstance(result, Computed | Broken)
                    number = result.generation.job.prompt[0]
                    found[number] = result.result if isinstance(result, Computed) else result
                if len(found) == count:
                    break
        self.line.close()
        await done
        return found


QUICK = RetryPolicy(max_attempts=3, backoff_s=0.001)


@pytest.mark.parametrize("kind", [FailureKind.OUT_OF_MEMORY, FailureKind.INTERNAL])
async def test_what_may_pass_is_tried_again(kind):
    """A request that fails twice is answered in its third attempt; its batch mates are answered at once."""
    engine = ScriptedEngine({1: [kind, kind]})
    endings = await Bench(engine, CrashProtection(retry=QUICK)).run([0, 1, 2])
    assert all(isinstance(ending, Generated) for ending in endings.values())
    assert {number: ending.attempt for number, ending in endings.items()} == {0: 1, 1: 3, 2: 1}
    assert engine.steps == [[0, 1, 2], [1], [1]]


async def test_attempts_have_a_ceiling():
    """After max_attempts the failure is the answer, and says how many there were."""
    engine = ScriptedEngine({1: [FailureKind.INTERNAL] * 9})
    endings = await Bench(engine, CrashProtection(retry=QUICK)).run([1])
    assert isinstance(endings[1], Broken)
    assert (endings[1].error.code, endings[1].attempt) == ("engine_error", 3)
    assert engine.steps == [[1]] * 3


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FailureKind.INVALID_OUTPUT, "invalid_output"),
        (FailureKind.DEADLINE, "deadline_exceeded"),
        (FailureKind.CANCELLED, "cancelled"),
    ],
)
async def test_what_will_not_pass_is_not_tried_again(kind, code):
    """Another attempt at a request that is too late, unwanted or wrong in itself would only cost."""
    engine = ScriptedEngine({1: [kind]})
    endings = await Bench(engine, CrashProtection(retry=QUICK)).run([1])
    assert isinstance(endings[1], Broken)
    assert (endings[1].error.code, endings[1].attempt) == (code, 1)


async def test_the_journal_holds_what_is_in_the_engine_and_nothing_else():
    """While a step runs the journal has its requests and what they are suspected of; when all are out it is empty."""
    guard = CrashProtection(retry=QUICK)
    guard.suspects.set(source(1), CrashHistory(crashes=2, together=1), 0)
    seen = []
    engine = ScriptedEngine(on_step=lambda _: seen.append(guard.journal.entries()))
    await Bench(engine, guard).run([1])
    ((entry,),) = seen
    assert (entry.source, entry.blame) == (source(1), CrashHistory(crashes=2, together=1))
    assert guard.journal.entries() == []


async def test_suspects_run_in_groups_of_their_own():
    """Nobody else is in the engine with suspects, nor more of them than their last crash allows; all are answered."""
    guard = CrashProtection()
    for number in (1, 3, 5):
        guard.suspects.set(source(number), CrashHistory(crashes=1, together=8), 0)
    engine = ScriptedEngine()
    endings = await Bench(engine, guard).run([0, 1, 2, 3, 4, 5])
    assert all(isinstance(ending, Generated) for ending in endings.values())
    assert engine.steps == [[1, 3], [0, 2, 4], [5]]
    assert {number: ending.attempt for number, ending in endings.items()} == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2}


async def test_poison_is_answered_and_never_run():
    """A request that was alone in two crashes gets the error that says so; the engine does not see it."""
    guard = CrashProtection(max_lone_crashes=2)
    guard.suspects.set(source(1), CrashHistory(crashes=6, together=1, alone=2), 0)
    engine = ScriptedEngine()
    endings = await Bench(engine, guard).run([0, 1])
    assert isinstance(endings[1], Broken)
    assert (endings[1].error.code, endings[1].attempt, endings[1].error.dead_letter) == ("poisoned", 6, True)
    assert "6 times" in endings[1].error.message
    assert engine.steps == [[0]]


async def test_an_engine_that_raises_ends_the_thread_and_is_told_of():
    """The engine's state is unknown then: the guard is called while the journal still shows who was in it."""
    blamed = []
    failed = []

    def fail(_: list[int]) -> None:
        raise RuntimeError("a kernel failed")

    def on_failure(error: Exception) -> None:
        failed.append(error)
        blamed.extend(entry.source for entry in guard.journal.entries())

    guard = CrashProtection(on_engine_failure=on_failure)
    with pytest.raises(EngineFailed, match="a kernel failed"):
        await Bench(ScriptedEngine(on_step=fail), guard).run([0, 1])
    assert blamed == [source(0), source(1)]
    assert len(failed) == 1


async def test_the_step_clock_runs_during_a_step_and_not_between():
    """What the watchdog looks at is the engine's time alone."""
    guard = CrashProtection()
    inside = []
    await Bench(ScriptedEngine(on_step=lambda _: inside.append(guard.steps.seconds)), guard).run([0])
    assert inside[0] > 0
    assert guard.steps.seconds == 0


@pytest.mark.parametrize(("suspected", "steps"), [(False, [[0, 2], [1]]), (True, [[1], [0, 2]])])
async def test_what_is_not_cleared_stays_in_the_line(suspected, steps):
    """It runs when the line is poked; others run meanwhile, unless it is a suspect, whose turn it stays."""
    guard = CrashProtection()
    if suspected:
        guard.suspects.set(source(1), CrashHistory(crashes=1, together=8), 0)
    engine = ScriptedEngine()
    bench = Bench(engine, guard)
    bench.held = {1}

    def clear() -> None:
        bench.held.clear()
        bench.line.notify()

    asyncio.get_running_loop().call_later(0.1, clear)
    endings = await bench.run([0, 1, 2])
    assert engine.steps == steps
    assert all(isinstance(ending, Generated) for ending in endings.values())


async def test_what_nobody_waits_for_is_not_run():
    """Its last request left while it waited in the queue: it leaves without a result."""
    engine = ScriptedEngine()
    unwanted, wanted = place(0), place(1)
    unwanted.item.remove(unwanted.item.job.delivery)
    assert isinstance((await Bench(engine, CrashProtection()).finish([unwanted, wanted], 1))[1], Generated)
    assert engine.steps == [[1]]


@pytest.mark.parametrize("attempts", [[], [FailureKind.INTERNAL]])
async def test_what_nobody_waits_for_any_more_is_ended_in_the_engine(attempts):
    """Whether it runs for the first time or again; there is no result, and nothing of it stays in the journal."""
    protection = CrashProtection(retry=QUICK)
    engine = ScriptedEngine({1: attempts.copy()}, endless={1})
    bench, (other, endless) = Bench(engine, protection), (place(0), place(1))

    def leave(step: list[int]) -> None:
        if step == [1] and endless.item.attempt > len(attempts) and endless.item.wanted:
            endless.item.remove(endless.item.job.delivery)
            bench.left.put(endless.item)

    engine.on_step = leave
    found = await bench.finish([other, endless], 1)
    assert list(found) == [0]
    assert (engine.running, protection.journal.entries()) == (0, [])


async def test_the_journal_names_somebody_who_waits():
    """A crash is no longer blamed on the request that began a generation once it has left, as it was answered."""
    protection = CrashProtection()
    protection.suspects.set(source(7), CrashHistory(crashes=1, together=8), 0)
    engine, seen = ScriptedEngine(endless={1}), []
    bench, one = Bench(engine, protection), place(1)
    began, waits = one.item.job.delivery, place(7).item.job
    one.item.add(waits)

    def look(_: list[int]) -> None:
        seen.append([(entry.source, entry.blame.crashes) for entry in protection.journal.entries()])
        if one.item.first is began:
            one.item.remove(began)
            bench.left.put(one.item)
        elif len(seen) > 2:
            engine.endless.clear()

    engine.on_step = look
    found = await bench.finish([one], 1)
    assert seen[0] == [(source(1), 0)]
    assert seen[-1] == [(source(7), 1)]
    assert found[1].attempt == 2, "the crashes of who waits count"
    assert protection.journal.entries() == []
