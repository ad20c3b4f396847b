"""The techniques in their order, each with what it adds to the settings before, and where its idea was published."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

SERIAL = "serial loop"


@dataclass(frozen=True, slots=True)
class Stage:
    """`settings` are those of a worker, laid over those of all stages before; None: no worker, but the serial loop.

    `published` says what the source's abstract claims, not what is to be expected here.
    """

    name: str
    settings: Mapping[str, str] | None
    published: str
    source: str


_BEFORE = {
    "PELTON_ENGINE__KIND": "padded",
    "PELTON_ENGINE__MAX_BATCH_SIZE": "1",
    "PELTON_ENGINE__MAX_BATCH_WAIT_MS": "0",
    "PELTON_MODEL__DTYPE": "float32",
    "PELTON_CACHE__ENABLED": "false",
}

STAGES = (
    Stage(SERIAL, None, "", ""),
    Stage(
        "decoupled I/O",
        _BEFORE,
        "higher performance than traditional designs, and robust to large variations of load (no factor)",
        "SEDA: An Architecture for Well-Conditioned, Scalable Internet Services (SOSP 2001)",
    ),
    Stage(
        "padded batches",
        {"PELTON_ENGINE__MAX_BATCH_SIZE": "16", "PELTON_ENGINE__MAX_BATCH_WAIT_MS": "50"},
        "by batching and caching, throughput and latency comparable to TensorFlow Serving's (no factor)",
        "Clipper: A Low-Latency Online Prediction Serving System (NSDI 2017)",
    ),
    Stage(
        "continuous batching",
        {"PELTON_ENGINE__KIND": "continuous", "PELTON_ENGINE__PREFIX_CACHE": "false"},
        "36.9x FasterTransformer's throughput at the same latency, GPT-3 175B; with paged memory 2-4x the throughput "
        "of FasterTransformer and Orca at the same latency; with chunked prompts 2.6x vLLM's capacity, Mistral-7B on "
        "one A100",
        "Orca: A Distributed Serving System for Transformer-Based Generative Models (OSDI 2022); Efficient Memory "
        "Management for Large Language Model Serving with PagedAttention (SOSP 2023); Taming Throughput-Latency "
        "Tradeoff in LLM Inference with Sarathi-Serve (OSDI 2024)",
    ),
    Stage(
        "prefix cache",
        {"PELTON_ENGINE__PREFIX_CACHE": "true"},
        "up to 6.4x the throughput of other systems, together with its other techniques, over programs of many calls",
        "SGLang: Efficient Execution of Structured Language Model Programs (NeurIPS 2024)",
    ),
    Stage(
        "bfloat16",
        {"PELTON_MODEL__DTYPE": "bfloat16"},
        "trained to the same results as float32 in as many iterations (no figure for serving)",
        "A Study of BFLOAT16 for Deep Learning Training (2019)",
    ),
    Stage(
        "int8 weights",
        {"PELTON_MODEL__DTYPE": "auto", "PELTON_ENGINE__WEIGHTS": "int8"},
        "up to 1.56x as fast and half the memory, with int8 activations too, on GPUs",
        "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models (ICML 2023)",
    ),
    Stage(
        "reply cache",
        {"PELTON_CACHE__ENABLED": "true"},
        "answers 2-10x as fast where the cache has them (here a quarter of the requests are repeats)",
        "GPTCache: An Open-Source Semantic Cache for LLM Applications (NLP-OSS 2023)",
    ),
)


def not_here(stage: Stage) -> str | None:
    """Why this machine cannot show a stage."""
    native = any(torch.cpu.get_capabilities().get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16"))
    if stage.name == "bfloat16" and not native and not torch.cuda.is_available():
        return "this processor has no bfloat16: it would be emulated, many times slower"
    return None
