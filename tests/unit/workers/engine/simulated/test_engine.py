"""The simulated engine: honest about time and limits, recognisable answers, cheap."""

import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    FinishReason,
    Outcome,
    SamplingParams,
)
from pelton.workers.engine.simulated.config import SimulatedConfig
from pelton.workers.engine.simulated.engine import SimulatedEngine
from pelton.workers.engine.simulated.text import decode_tokens, encode_text, signature

INSTANT = SimulatedConfig(ttft_ms=0, itl_ms=0)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def request(
    request_id: int, text: str = "hello", max_tokens: int = 512, deadline: float | None = None
) -> EngineRequest:
    return EngineRequest(request_id, encode_text(text), SamplingParams(max_tokens), deadline)


def fixed(tokens: int, **times: Any) -> SimulatedConfig:
    return SimulatedConfig(min_output_tokens=tokens, mean_output_tokens=tokens, max_output_tokens=tokens, **times)


def run(engine: SimulatedEngine) -> list[Outcome]:
    outcomes = []
    while engine.running:
        outcomes += engine.step()
    return outcomes


@given(texts=st.lists(st.text(), max_size=5))
def test_the_code_is_reversible(texts: list[str]) -> None:
    """Text survives encoding, also when pieces are encoded apart and joined; ids are positive."""
    clean = [text.encode(errors="replace").decode() for text in texts]
    tokens = [token for text in clean for token in encode_text(text)]
    assert decode_tokens(tokens) == "".join(clean)
    assert all(token > 0 for token in tokens)
    assert len(encode_text("word" * 100)) == 100


@given(text=st.text(min_size=1), seed=st.integers(0, 10), max_tokens=st.integers(1, 600))
def test_an_answer_belongs_to_its_prompt(text: str, seed: int, max_tokens: int) -> None:
    """It begins with the prompt's signature, is the same every time, and is cut at max_tokens."""
    config = SimulatedConfig(ttft_ms=0, itl_ms=0, seed=seed, min_output_tokens=6, mean_output_tokens=20)
    answers = []
    for _ in range(2):
        engine = SimulatedEngine(config)
        engine.add(request(1, text, max_tokens))
        answers += [(o.token_ids, o.finish_reason) for o in engine.step() if isinstance(o, Completion)]
    tokens, reason = answers[0]
    assert answers[0] == answers[1]
    assert len(tokens) <= max_tokens
    assert reason is FinishReason.STOP or len(tokens) == max_tokens
    full = signature(decode_tokens(encode_text(text))) + " jet" * 600
    assert full.startswith(decode_tokens(tokens))


def test_lengths_follow_the_settings() -> None:
    """Over many prompts the answers' mean is the one asked for, within their bounds; another seed, other lengths."""

    def lengths(seed: int) -> list[int]:
        engine = SimulatedEngine(SimulatedConfig(ttft_ms=0, itl_ms=0, seed=seed, mean_output_tokens=60))
        for index in range(2_000):
            engine.add(request(index, f"prompt {index}"))
        return [
            len(o.token_ids) for o in sorted(engine.step(), key=lambda o: o.request_id) if isinstance(o, Completion)
        ]

    drawn = lengths(seed=1)
    assert 56 < sum(drawn) / len(drawn) < 64
    assert min(drawn) >= 8
    assert max(drawn) <= 512
    assert drawn != lengths(seed=2)


def test_time_passes_as_configured() -> None:
    """A request alone takes ttft + tokens x itl, and says how that splits."""
    clock = Clock()
    engine = SimulatedEngine(fixed(10, ttft_ms=50, itl_ms=4), clock, clock.sleep)
    engine.add(request(1))
    (outcome,) = run(engine)
    assert isinstance(outcome, Completion)
    assert clock.now - 100 == pytest.approx(0.050 + 10 * 0.004)
    assert [outcome.prefill_s, outcome.decode_s] == pytest.approx([0.054, 0.036])


def test_time_per_token_grows_with_the_batch() -> None:
    """Each running request makes every step longer."""
    clock = Clock()
    engine = SimulatedEngine(fixed(10, ttft_ms=0, itl_ms=1, itl_ms_per_row=0.5), clock, clock.sleep)
    for index in range(8):
        engine.add(request(index))
    assert len(run(engine)) == 8
    assert clock.now - 100 == pytest.approx(10 * (0.001 + 8 * 0.0005))


def test_requests_join_and_leave_at_any_step() -> None:
    """A later request runs beside an earlier one, and each leaves with its own last token."""
    clock = Clock()
    engine = SimulatedEngine(fixed(10, ttft_ms=0, itl_ms=5), clock, clock.sleep)
    engine.add(request(1))
    assert [engine.step() for _ in range(4)] == [[]] * 4
    engine.add(request(2))
    assert engine.running == 2
    finished: dict[int, float] = {}
    while engine.running:
        finished |= {outcome.request_id: clock.now for outcome in engine.step()}
    assert finished == {1: pytest.approx(100.050), 2: pytest.approx(100.070)}


def test_the_hosts_own_work_takes_no_extra_time() -> None:
    """What the caller does between steps is hidden behind the simulated computation."""
    clock = Clock()
    engine = SimulatedEngine(fixed(10, ttft_ms=0, itl_ms=5), clock, clock.sleep)
    engine.add(request(1))
    while engine.running:
        engine.step()
        clock.now += 0.001
    assert clock.now - 100 == pytest.approx(0.050, abs=0.0015)


def test_without_time_one_step_finishes_everything() -> None:
    """All times 0: no sleeping, no second step."""
    engine = SimulatedEngine(INSTANT, sleep=lambda _: pytest.fail("slept"))
    for index in range(100):
        engine.add(request(index, f"prompt {index}"))
    assert len(engine.step()) == 100
    assert engine.running == 0
    assert engine.last_step is not None
    assert engine.last_step.rows == 100


def test_select_keeps_rows_and_tokens_within_limits() -> None:
    """From the front, as long as rows are free and a step can hold the prompts beside what runs."""
    engine = SimulatedEngine(SimulatedConfig(max_running=4, max_batch_tokens=100))
    line = [QueuedRequest(None, 40, 10, 0.0)] * 9
    assert engine.select(line, 0.0).indexes == (0, 1)
    assert engine.select([QueuedRequest(None, 5, 10, 0.0)] * 9, 0.0).indexes == (0, 1, 2, 3)
    engine.add(EngineRequest(1, [1] * 50, SamplingParams(10)))
    assert engine.select(line, 0.0).indexes == (0,)
    engine.step()
    assert engine.select(line, 0.0).indexes == (0, 1)
    assert engine.select([QueuedRequest(None, 100, 1, 0.0)], 0.0).indexes == ()
    with pytest.raises(ValueError, match="above max_batch_tokens"):
        engine.select([QueuedRequest(None, 101, 1, 0.0)], 0.0)


def test_what_ended_before_it_joined_takes_no_room() -> None:
    """A request cancelled between `add` and `step` does not keep a large one out of an empty engine."""
    engine = SimulatedEngine(SimulatedConfig(max_batch_tokens=100))
    engine.add(EngineRequest(1, [1] * 90, SamplingParams(10)))
    engine.cancel(1)
    engine.step()
    assert engine.select([QueuedRequest(None, 90, 10, 0.0)], 0.0).indexes == (0,)


@pytest.mark.parametrize("wrong", [{"itl_ms": -1}, {"min_output_tokens": 70}, {"max_running": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    """A configuration that cannot be meant fails where it is made."""
    with pytest.raises(ValueError, match="must"):
        SimulatedConfig(**wrong)


def test_many_requests_cost_little_processor_time() -> None:
    """Hundreds running at once: well above 500 requests for a second of one core."""
    engine = SimulatedEngine(fixed(100, ttft_ms=1, itl_ms=0.2, itl_ms_per_row=0.001), sleep=lambda _: None)
    waiting = [
        EngineRequest(index, encode_text(f"{index} words " * 100), SamplingParams(200)) for index in range(1_000)
    ]
    started, finished = time.process_time(), 0
    while waiting or engine.running:
        while waiting and engine.running < 256:
            engine.add(waiting.pop())
        finished += len(engine.step())
    assert finished == 1_000
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "modules",
    [
        "pelton.workers.engine.api, pelton.workers.engine.simulated.engine",
        "pelton.commands.worker, pelton.workers.process",
    ],
    ids=["engine", "worker"],
)
def test_neither_the_interface_nor_the_simulation_imports_torch(modules: str) -> None:
    """Importing them must stay possible, and quick, where no engine extra is installed, or no model runs."""
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
