"""The engine for use without a pipeline: load a model, generate for a list of prompts."""

import time
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pelton.workers.engine.api import Completion, EngineRequest, Failure, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.loading import load, prepare, wrap
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.native.compiling import keep_library_in
from pelton.workers.engine.parallel.loading import load_in_parts
from pelton.workers.engine.parallel.processes import spawn


class GenerationError(RuntimeError):
    """A request of `generate` got no answer; the others are lost with it."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    index: int
    prompt: Items[int]
    params: SamplingParams
    since: float
    priority: int = 0

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt)

    @property
    def max_new_tokens(self) -> int:
        return self.params.max_tokens


class Engine(ContinuousEngine):
    """A loaded model that answers prompts of token ids.

    engine = Engine.load("smollm2-135m-instruct")
    [completion] = engine.generate([[1, 2, 3]], [SamplingParams(max_tokens=16)])
    """

    @classmethod
    def load(  # noqa: PLR0913 (what a model is loaded by; all but the first by name)
        cls,
        model: Any,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        gguf_file: str | None = None,
        weights: Literal["auto", "int8", "fp8"] = "auto",
        tensor_parallel: int = 1,
        cache_dir: Path | None = None,
        **limits: Any,
    ) -> Self:
        """Load `model` (a folder, a hub id, or a transformers model, which stays where and as it is).

        With `weights` "int8" linear layers compute in int8, on a CPU, with "fp8" in fp8, where the device multiplies
        it; those of a transformers model are replaced.
        With `tensor_parallel` above 1 this and other processes compute a part each, on a GPU each, or on the CPU to try
        it out; `close` ends them. `limits` are those of `ContinuousConfig`. Raises ModelLoadError.
        """
        if cache_dir is not None:
            limits.setdefault("kernel_cache", cache_dir / "kernels")
            keep_library_in(cache_dir / "kernels")
        if tensor_parallel > 1:
            if not isinstance(model, str | Path):
                raise ModelLoadError("engine.tensor_parallel: a model in parts is loaded from a folder or the hub")
            spec = ModelSpec(str(model), gguf_file, dtype, device, weights=weights)
            return cls._in_parts(spec, tensor_parallel, ContinuousConfig(**limits), cache_dir)
        if isinstance(model, str | Path):
            loaded = load(ModelSpec(str(model), gguf_file, dtype, device, weights=weights), cache_dir)
        else:
            loaded = wrap(model) if weights == "auto" else prepare(wrap(model), weights)
        return cls(loaded, ContinuousConfig(**limits))

    @classmethod
    def _in_parts(cls, spec: ModelSpec, ranks: int, config: ContinuousConfig, cache_dir: Path | None) -> Self:
        loaded, followers = load_in_parts(spec, spawn(ranks), cache_dir)
        try:
            return cls(loaded, config, followers=followers)
        except BaseException:
            followers.close()
            raise

    def generate(self, prompts: Items[Items[int]], params: Items[SamplingParams] | SamplingParams) -> list[Completion]:
        """One completion for each prompt, in their order; `params` for each, or one for all.

        Raises GenerationError when one of them fails, and ValueError for one that could never run.
        """
        each = [params] * len(prompts) if isinstance(params, SamplingParams) else params
        waiting = [
            _Prompt(index, prompt, own, time.monotonic())
            for index, (prompt, own) in enumerate(zip(prompts, each, strict=True))
        ]
        completions: dict[int, Completion] = {}
        while waiting or self.running:
            waiting = self._admit(waiting)
            for outcome in self.step():
                if isinstance(outcome, Failure):
                    self._abandon()
                    raise GenerationError(f"prompt {outcome.request_id}: {outcome.message}")
                completions[outcome.request_id] = outcome
        return [completions[index] for index in range(len(prompts))]

    def _admit(self, waiting: list[_Prompt]) -> list[_Prompt]:
        """Hand over what there is room for; return what still waits."""
        chosen = set(self.select(waiting, time.monotonic()).indexes)
        for index in sorted(chosen):
            prompt = waiting[index]
            self.add(EngineRequest(prompt.index, prompt.prompt, prompt.params))
        return [prompt for index, prompt in enumerate(waiting) if index not in chosen] if chosen else waiting

    def _abandon(self) -> None:
        for request_id in range(-1, max(self._running, default=-1) + 1):
            self.cancel(request_id)
        self._interrupted()
