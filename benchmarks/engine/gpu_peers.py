"""The peers of the engine on a GPU: each makes its own model and returns generated tokens per second."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from benchmarks.engine.gpu_workloads import CONFIGS, make_model, make_requests
from benchmarks.engine.workloads import Request

Peer = Callable[[Any, list[Request]], float]

ROWS = 64
"""Of transformers: more take minutes."""

_VLLM_S = 900


@torch.inference_mode()
def padded_generate(config: Any, requests: list[Request], device: str = "cuda") -> float:
    """Transformers' `generate` on one padded batch; each row's own tokens count."""
    model, rows = make_model(config, device), requests[:ROWS]
    longest = max(len(row.prompt) for row in rows)
    ids = torch.tensor([[0] * (longest - len(row.prompt)) + row.prompt for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row.prompt)) + [1] * len(row.prompt) for row in rows], device=device)

    def generate(new: int) -> None:
        options = GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
        model.generate(input_ids=ids, attention_mask=mask, generation_config=options)

    generate(2)
    started = time.perf_counter()
    generate(max(row.new_tokens for row in rows))
    if device == "cuda":
        torch.cuda.synchronize()
    return sum(row.new_tokens for row in rows) / (time.perf_counter() - started)


def continuous_batching(config: Any, requests: list[Request], device: str = "cuda") -> float:
    """Transformers' own; no end token, so that every request gets all its tokens."""
    model, rows = make_model(config, device), requests[:ROWS]
    model.set_attn_implementation("sdpa")
    options = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=1024)
    started = time.perf_counter()
    with model.continuous_batching_context_manager(generation_config=options, block=True, timeout=5) as manager:
        for row in rows:
            manager.add_request(row.prompt, max_new_tokens=row.new_tokens)
        for _ in rows:
            while manager.get_result(timeout=1) is None:
                pass
    return sum(row.new_tokens for row in rows) / (time.perf_counter() - started)


def vllm(config: Any, requests: list[Request]) -> float:
    """In a process of its own, which takes the memory it wants and gives it back."""
    if importlib.util.find_spec("vllm") is None:
        raise ModuleNotFoundError("vLLM is not installed here")
    workload = next(name for name, each in CONFIGS.items() if each is config)
    command = [sys.executable, "-m", "benchmarks.engine.gpu_peers", workload, str(len(requests))]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_VLLM_S).stdout  # noqa: S603 (our own)
    return float(json.loads(told.splitlines()[-1])["tokens_per_s"])


PEERS: dict[str, Peer] = {
    f"transformers generate, padded ({ROWS})": padded_generate,
    f"transformers continuous batching ({ROWS})": continuous_batching,
    "vLLM": vllm,
}


def _vllm_here(workload: str, count: int) -> float:
    from vllm import LLM, SamplingParams  # noqa: PLC0415 (only this process has it)

    requests = make_requests(count)
    with tempfile.TemporaryDirectory() as folder:
        config = CONFIGS[workload]
        config.architectures = ["Qwen3ForCausalLM" if workload == "A" else "LlamaForCausalLM"]
        config.save_pretrained(Path(folder))
        llm = LLM(
            model=folder, load_format="dummy", skip_tokenizer_init=True, enable_prefix_caching=False, dtype="bfloat16"
        )
        prompts = [{"prompt_token_ids": each.prompt} for each in requests]
        params = [
            SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=each.new_tokens, detokenize=False)
            for each in requests
        ]
        llm.generate(prompts[:2], params[:2], use_tqdm=False)
        started = time.perf_counter()
        answers = llm.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - started
    return sum(len(each.outputs[0].token_ids) for each in answers) / seconds


if __name__ == "__main__":
    print(json.dumps({"tokens_per_s": _vllm_here(sys.argv[1], int(sys.argv[2]))}))
