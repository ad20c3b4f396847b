"""Runs the device's executor where there is no GPU, with every kernel compiled for a Hopper card and launched nowhere.

A program, since Triton reads whether to interpret when it is imported. What kernels would have computed stays zero, so
answers mean nothing; arguments, sizes and shared memory are those of a real run. Prints, as JSON, the kernels compiled
before and after warm-up, and the most shared memory one takes.
"""

import json
from typing import Any, Literal

import torch
import triton
from transformers import AutoModelForCausalLM, Gemma2Config, PreTrainedConfig, Qwen3Config
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from pelton.workers.engine.api import EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous import engine as engine_module
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.cuda.executor import DeviceExecutor
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.model.loading import wrap

COMMON: dict[str, Any] = {
    "vocab_size": 20_000, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "eos_token_id": None,
    "bos_token_id": None, "pad_token_id": None, "max_position_embeddings": 4096,
}  # fmt: skip
MODELS: list[tuple[PreTrainedConfig, torch.dtype, Literal["auto", "int8", "fp8"]]] = [
    (Qwen3Config(**COMMON, num_attention_heads=16, num_key_value_heads=8, head_dim=128), torch.bfloat16, "auto"),
    (
        Qwen3Config(**COMMON, num_attention_heads=16, num_key_value_heads=8, head_dim=128),
        torch.bfloat16,
        "fp8",
    ),
    (
        Gemma2Config(**COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=256, sliding_window=128),
        torch.float16,
        "int8",
    ),
]


class Hopper:
    """As much of a Triton driver as compiling takes."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int | None = None) -> int:
        return 0


def main() -> None:
    triton.runtime.driver.set_active(Hopper())
    # It would refuse fp8, as there is no card.
    engine_module.check_device = lambda *_: None  # type: ignore[attr-defined]
    compiled: dict[int, int] = {}
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:  # noqa: ARG001 (Triton's)
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        compiled[id(kernel)] = kernel.metadata.shared
        kept.append(kernel)
        return kernel

    kept: list[Any] = []
    JITFunction.run = compile_only
    torch.empty = torch.zeros  # type: ignore[assignment]
    counts = []
    for config, dtype, kv_dtype in MODELS:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        fuse_linears(model)
        limits = ContinuousConfig(max_batch_tokens=100, max_running=40, kv_memory_gib=0.1, kv_dtype=kv_dtype)
        engine = ContinuousEngine(wrap(model), limits, make_executor=DeviceExecutor)
        warm(engine._executor)
        before = len(compiled)
        serve(engine)
        counts.append((before, len(compiled)))
    print(json.dumps({"counts": counts, "shared": max(compiled.values())}))  # noqa: T201 (its output)


@torch.inference_mode()
def warm(executor: Any) -> None:
    """What `warm_up` does but compile and capture."""
    executor.dummy_run()
    # Of steps with chunks the largest and the smallest: they differ in nothing that is compiled.
    for shape in (*executor._graphs._decodes, executor._mixed[0], executor._mixed[-1]):
        executor._prepare(shape)
        executor._compute(shape)


def serve(engine: ContinuousEngine) -> None:
    for index in range(20):
        params = SamplingParams(
            6, temperature=index % 3 * 0.5, top_p=0.9 if index % 2 else 1.0, top_k=index % 4,
            presence_penalty=index % 2 * 0.3, logprobs=2 if index == 3 else None, ignore_eos=True,
        )  # fmt: skip
        engine.add(EngineRequest(index, [1] * (5 + 17 * index), params))
    while engine.running:
        engine.step()


if __name__ == "__main__":
    main()
