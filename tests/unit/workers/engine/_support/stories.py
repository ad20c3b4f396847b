"""What happens to a continuous engine, at random, and what must hold of every answer in it."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from pelton.workers.engine.api import Completion, EngineRequest, FailureKind, SamplingParams
from pelton.workers.engine.continuous.engine import ContinuousEngine
from tests.unit.workers.engine._support.reference import assert_is_the_answer, prompt_of, reference

AT_ONCE = 5
NEW = 8

STORIES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 30), st.integers(0, 5)),
        st.tuples(st.just("step"), st.integers(1, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
    ),
    max_size=20,
)


@dataclass
class Story:
    """Tells an engine what happens; each answer must be that of `generate`, and who was cancelled gets none."""

    engine: ContinuousEngine
    family: str
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    cancelled: set[int] = field(default_factory=set)

    def tell(self, events: list[tuple[Any, ...]]) -> None:
        for kind, *details in events:
            if kind == "add" and self.engine.running < AT_ONCE:
                self.prompts.append(prompt_of(*details))
                params = SamplingParams(NEW, temperature=0.0, logprobs=0, ignore_eos=True)
                self.engine.add(EngineRequest(len(self.prompts) - 1, self.prompts[-1], params))
            elif kind == "step":
                for _ in range(details[0]):
                    self._step()
            elif kind == "cancel":
                self.cancelled.add(details[0])
                self.engine.cancel(details[0])
        while self.engine.running:
            self._step()
        assert self.ended == set(range(len(self.prompts)))

    def _step(self) -> None:
        for outcome in self.engine.step():
            self.ended.add(outcome.request_id)
            if isinstance(outcome, Completion):
                assert_is_the_answer(outcome, reference(self.family, self.prompts[outcome.request_id], NEW))
            else:
                assert outcome.kind is FailureKind.CANCELLED
                assert outcome.request_id in self.cancelled
