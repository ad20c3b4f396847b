"""Engines for the default model, and what it says to questions."""

from pelton.workers.engine.api import Completion, EngineRequest, FinishReason, Outcome, SamplingParams, StepEngine
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine


def padded(loaded: LoadedModel) -> StepEngine:
    return PaddedEngine(loaded, PaddedConfig(max_batch_tokens=4096, max_batch_size=8, max_batch_wait_s=0.0))


def continuous(loaded: LoadedModel) -> StepEngine:
    return ContinuousEngine(loaded, ContinuousConfig(kv_memory_gib=0.25))


def ask(engine: StepEngine, loaded: LoadedModel, *questions: str) -> list[tuple[str, FinishReason]]:
    engine.warm_up()
    for index, question in enumerate(questions):
        chat = [{"role": "user", "content": question}]
        prompt = loaded.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
        engine.add(EngineRequest(index, prompt, SamplingParams(max_tokens=40, temperature=0.0)))
    outcomes: list[Outcome] = []
    while engine.running:
        outcomes += engine.step()
    completions = sorted((o for o in outcomes if isinstance(o, Completion)), key=lambda o: o.request_id)
    return [(loaded.tokenizer.decode(o.token_ids, skip_special_tokens=True), o.finish_reason) for o in completions]
