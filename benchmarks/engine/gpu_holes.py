"""Memory that loading a model leaves reserved and unused: holes where joined weights were, which no page can take.

    python -m benchmarks.engine.gpu_holes [--dry]

Saves a model of the shape of Llama-3-8B with an eighth of its layers, and loads it as the engine does, once with the
allocator's usual segments and once with what the engine sets where nothing is set. On a card they differ by what the
setting is worth.
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
from pelton.workers.engine.model.device import device_for

LAYERS = 4
ALLOCATORS = {"usual": "expandable_segments:False", "engine": ""}


def measure(folder: str, device: str) -> dict[str, float]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map={"": device_for(device)})
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
        for name, setting in ALLOCATORS.items():
            environment = {key: value for key, value in os.environ.items() if key != "PYTORCH_CUDA_ALLOC_CONF"}
            environment |= {"PYTORCH_CUDA_ALLOC_CONF": setting} if setting else {}
            command = [sys.executable, "-m", "benchmarks.engine.gpu_holes", "--folder", folder]
            command += ["--dry"] if asked.dry else []
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout  # noqa: S603 (our own)
            figures = json.loads(told.splitlines()[-1])
            print("RESULT", json.dumps({"allocator": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
