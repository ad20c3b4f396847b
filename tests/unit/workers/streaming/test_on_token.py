"""Engines tell tokens as they come to those who listen, and only to them."""

from pelton.workers.engine.api import Completion, EngineRequest, Outcome, SamplingParams
from pelton.workers.engine.choices import ChoiceEngine
from pelton.workers.engine.simulated.config import SimulatedConfig
from pelton.workers.engine.simulated.engine import SimulatedEngine
from pelton.workers.engine.simulated.text import encode_text


def test_the_simulated_engine_tells_all_but_the_last_token_before_the_end() -> None:
    """In their order, several steps before the answer is there."""
    heard: dict[int, list[int]] = {1: [], 2: []}
    seen_before_the_end = []
    engine = ChoiceEngine(SimulatedEngine(SimulatedConfig(itl_ms=2, ttft_ms=0)))
    for number in (1, 2):
        params = SamplingParams(64, ignore_eos=True)
        prompt = encode_text(f"question {number}")
        engine.add(EngineRequest(number, prompt, params, on_token=heard[number].insert))
    engine.add(EngineRequest(3, encode_text("unheard"), SamplingParams(64)))
    ended: dict[int, Outcome] = {}
    while engine.running:
        ended |= {each.request_id: each for each in engine.step()}
        seen_before_the_end.append(len(heard[1]))
    for number, tokens in heard.items():
        outcome = ended[number]
        assert isinstance(outcome, Completion)
        assert tuple(tokens) == outcome.token_ids[:-1]
    assert len(set(seen_before_the_end)) > 5
