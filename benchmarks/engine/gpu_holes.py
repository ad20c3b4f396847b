"""Memory that loading a model leaves reserved and unused: holes where joined weights were, which no page can take.

    python -m benchmarks.engine.gpu_holes [--dry]

Saves a model of the shape of Llama-3-8B with a quarter of its layers, and loads it as the engine does, once with the
allocator's usual segments and once with expandable ones. On a card they differ by what the setting is worth.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.engine.gpu_workloads import CONFIGS, make_model
from pelton.workers.engine.layers.fused_linear import fuse_linears

LAYERS = 8
SEGMENTS = ("False", "True")


def measure(folder: str, device: str) -> dict[str, float]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map={"": device})
    fuse_linears(model)
    if device == "cpu":
        return {"allocated_gib": 0.0, "holes_gib": 0.0}
    torch.cuda.empty_cache()
    allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    return {"allocated_gib": allocated / 2**30, "holes_gib": (reserved - allocated) / 2**30}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--folder", help="of a saved model, to be measured in this process")
    asked = parser.parse_args()
    device = "cpu" if asked.dry else "cuda"
    if asked.folder:
        print(json.dumps(measure(asked.folder, device)))
        return
    with tempfile.TemporaryDirectory() as folder:
        config = CONFIGS["dry"] if asked.dry else LlamaConfig(**CONFIGS["A8"].to_dict() | {"num_hidden_layers": LAYERS})
        make_model(config, device).save_pretrained(folder)
        torch.cuda.empty_cache()
        for expandable in SEGMENTS:
            environment = {**os.environ, "PYTORCH_CUDA_ALLOC_CONF": f"expandable_segments:{expandable}"}
            command = [sys.executable, "-m", "benchmarks.engine.gpu_holes", "--folder", folder]
            command += ["--dry"] if asked.dry else []
            told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout  # noqa: S603 (our own)
            figures = json.loads(told.splitlines()[-1])
            print("RESULT", json.dumps({"expandable": expandable, **figures}), flush=True)


if __name__ == "__main__":
    main()
