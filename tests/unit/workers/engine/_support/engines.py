"""One engine of each kind, small enough for a test, and a drive through any of them."""

from collections import Counter
from collections.abc import Callable

from pelton.workers.engine.api import EngineRequest, Failure, FailureKind, Outcome, SamplingParams, StepEngine
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine
from pelton.workers.engine.simulated.config import SimulatedConfig
from pelton.workers.engine.simulated.engine import SimulatedEngine
from tests.unit.workers.engine._support.driving import PROMPTS

Clock = Callable[[], float]
MakeEngine = Callable[..., StepEngine]
REAL = ("continuous", "padded")
"""Those that run a model."""
MAX_STEPS = 500
"""More than any of these requests takes: an engine that needs them has lost one."""


def continuous(loaded: LoadedModel, clock: Clock) -> ContinuousEngine:
    return ContinuousEngine(loaded, ContinuousConfig(page_size=8, kv_memory_gib=0.01, max_running=8), clock)


def padded(loaded: LoadedModel, clock: Clock) -> PaddedEngine:
    return PaddedEngine(loaded, PaddedConfig(4096, 8, 0.0), clock)


def simulated(loaded: LoadedModel, clock: Clock) -> SimulatedEngine:
    del loaded  # it computes nothing
    return SimulatedEngine(SimulatedConfig(itl_ms=5, max_running=8), clock, sleep=lambda _: None)


ENGINES: dict[str, Callable[[LoadedModel, Clock], StepEngine]] = {
    "continuous": continuous,
    "padded": padded,
    "simulated": simulated,
}


def drain(engine: StepEngine) -> list[Outcome]:
    """All that comes out until nothing runs; each id once."""
    outcomes: list[Outcome] = []
    for _ in range(MAX_STEPS):
        if not engine.running:
            break
        outcomes += engine.step()
    assert engine.running == 0, "an engine kept a request"
    assert set(Counter(outcome.request_id for outcome in outcomes).values()) <= {1}, "a request ended twice"
    if isinstance(engine, ContinuousEngine):
        assert engine._pool.available == engine._pool.num_pages, "pages are lost"
    return outcomes


def run(engine: StepEngine, *params: SamplingParams) -> dict[int, Outcome]:
    """PROMPTS with one of `params` each; the last stands for all further ones."""
    for index, prompt in enumerate(PROMPTS):
        engine.add(EngineRequest(index, prompt, params[min(index, len(params) - 1)]))
    return {outcome.request_id: outcome for outcome in drain(engine)}


def kinds(outcomes: list[Outcome]) -> dict[int, FailureKind | None]:
    """How each request failed; None for those that were answered."""
    return {one.request_id: one.kind if isinstance(one, Failure) else None for one in outcomes}
