"""The techniques in their order, each with what it adds to the settings before, and where its idea was published."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

SERIAL = "serial loop"


@dataclass(frozen=True, slots=True)
class Stage:
    """`settings` are those of a worker, laid over those of all stages before; None: no worker, but the serial loop.

    `published` says what the source measured, not what is to be expected here.
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
        "stages joined by queues hold their throughput under overload, where a thread for each request does not",
        "SEDA (Welsh et al., SOSP 2001)",
    ),
    Stage(
        "padded batches",
        {"PELTON_ENGINE__MAX_BATCH_SIZE": "16", "PELTON_ENGINE__MAX_BATCH_WAIT_MS": "50"},
        "up to 26x the throughput of single queries, for a linear model of scikit-learn",
        "Clipper (Crankshaw et al., NSDI 2017)",
    ),
    Stage(
        "continuous batching",
        {"PELTON_ENGINE__KIND": "continuous", "PELTON_ENGINE__PREFIX_CACHE": "false"},
        "36.9x FasterTransformer's throughput at equal latency, GPT-3 175B on A100s (iteration-level scheduling); with "
        "paged memory 2-4x Orca's and FasterTransformer's; with chunked prompts 2.6x vLLM's capacity, Mistral-7B, on "
        "one A100",
        "Orca (Yu et al., OSDI 2022); vLLM (Kwon et al., SOSP 2023); Sarathi-Serve (Agrawal et al., OSDI 2024)",
    ),
    Stage(
        "prefix cache",
        {"PELTON_ENGINE__PREFIX_CACHE": "true"},
        "up to 6.4x the throughput of systems of its time, over programs that share beginnings",
        "SGLang, RadixAttention (Zheng et al., NeurIPS 2024)",
    ),
    Stage(
        "bfloat16",
        {"PELTON_MODEL__DTYPE": "bfloat16"},
        "half the bytes of a weight; trained to float32's accuracy (no figure for serving)",
        "A Study of BFLOAT16 (Kalamkar et al., 2019)",
    ),
    Stage(
        "int8 weights",
        {"PELTON_MODEL__DTYPE": "auto", "PELTON_ENGINE__WEIGHTS": "int8"},
        "up to 1.56x as fast as float16 and half its memory, on A100s",
        "SmoothQuant (Xiao et al., ICML 2023)",
    ),
    Stage(
        "reply cache",
        {"PELTON_CACHE__ENABLED": "true"},
        "what repeats is not computed: the gain is the workload's share of repeats (here a quarter)",
        "GPTCache (Bang, NLP-OSS 2023)",
    ),
)


def not_here(stage: Stage) -> str | None:
    """Why this machine cannot show a stage."""
    native = any(torch.cpu.get_capabilities().get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16"))
    if stage.name == "bfloat16" and not native and not torch.cuda.is_available():
        return "this processor has no bfloat16: it would be emulated, many times slower"
    return None
