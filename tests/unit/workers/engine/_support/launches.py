"""Counts the kernels that TorchInductor launches for a layer on a Hopper card, where there is no card.

    python -m tests.unit.workers.engine._support.launches [FOLDER]

A program: it pretends that there is a card, and lets Inductor write its code for one with tensors that have no memory.
Prints, as JSON, for Qwen3's layers whose attention norms and turns heads by itself, and for transformers' own: launches
of a layer more, by kind, and how many of Inductor's kernels read or write before they wait where launches are
dependent. What attention itself launches is not Inductor's affair: two kernels in a decode step. The code is left in
FOLDER.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch._dynamo.device_interface import CudaInterface
from torch._inductor import compile_fx, config
from torch._inductor.exc import InductorError
from torch._inductor.graph import GraphLowering
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils import _triton
from transformers import AutoModelForCausalLM, Qwen3Config

from pelton.workers.engine.cuda.paged_op import ATTENTION, paged_attention, register
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.layers.operator_attention import fuse_into_operator

CARD = SimpleNamespace(
    name="Hopper", major=9, minor=0, multi_processor_count=132, regs_per_multiprocessor=65_536, warp_size=32,
    max_threads_per_multi_processor=2048, max_threads_per_block=1024, total_memory=2**37, L2_cache_size=50 * 2**20,
    shared_memory_per_block=49_152, shared_memory_per_block_optin=232_448, gcnArchName="",
)  # fmt: skip
KINDS = {
    "inductor": r"^\s+triton_\w+\.run\(",
    "products": r"^\s+extern_kernels\.\w+\(",
    "attention": r"= torch\.ops\.pelton\.",
}


class Written(Exception):
    """Inductor's code, before it is compiled."""


def pretend() -> None:
    """A card is there, as far as Inductor asks."""
    for interface in (CudaInterface, CudaInterface.Worker):
        put(interface, get_device_properties=CARD, current_device=0)
    put(
        CudaInterface, get_compute_capability=90, get_multi_processor_count=132, is_triton_capable=True,
        raise_if_triton_unavailable=None, is_available=True,
    )  # fmt: skip
    put(torch.cuda, get_device_capability=(9, 0), get_device_properties=CARD)
    put(_triton, has_triton=True, triton_hash_with_backend="")
    put(compile_fx, _check_triton_bf16_support=None)

    def written(graph: Any) -> None:
        text, _ = graph.codegen()
        raise Written(text.value)

    holder: Any = GraphLowering
    holder.compile_to_module = written


def put(holder: Any, **answers: Any) -> None:
    """Functions that always give the same."""
    for name, answer in answers.items():
        setattr(holder, name, staticmethod(lambda *_, answer=answer, **__: answer))


@torch.inference_mode()
def code(layers: int, inside: bool) -> str:
    """What Inductor writes for the body of a model."""
    torch._dynamo.reset()
    shape = {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 8}
    shape |= {"vocab_size": 1000, "head_dim": 128, "num_hidden_layers": layers}
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True):
        model = AutoModelForCausalLM.from_config(Qwen3Config(**shape), dtype=torch.bfloat16).eval()
        for module in model.modules():
            for held in (module._parameters, module._buffers):
                for name, tensor in [each for each in held.items() if each[1] is not None]:
                    moved = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
                    held[name] = torch.nn.Parameter(moved, False) if held is module._parameters else moved
        model.set_attn_implementation(ATTENTION)
        fuse_linears(model)
        if inside:
            fuse_into_operator(model, paged_attention)
        model.base_model.compile(fullgraph=True, dynamic=True)
        ids = torch.zeros(1, 256, dtype=torch.int64, device="cuda")
        try:
            model.base_model(input_ids=ids, position_ids=ids.clone(), use_cache=False)
        except InductorError as error:
            if isinstance(error.inner_exception, Written):
                return str(error.inner_exception)
            raise
    raise RuntimeError("Inductor compiled nothing")


def launches(text: str) -> Counter[str]:
    return Counter({kind: len(re.findall(pattern, text, re.MULTILINE)) for kind, pattern in KINDS.items()})


def early(text: str) -> int:
    """Kernels that do not wait, or read or write before they do."""
    kernels = re.findall(r"^def triton_\w+\(.*?^'''", text, re.MULTILINE | re.DOTALL)
    begun = [kernel.partition("gdc_wait") for kernel in kernels]
    return sum(not wait or "tl.load" in before or "tl.store" in before for before, wait, _ in begun)


def main() -> None:
    pretend()
    register()
    config.triton.enable_pdl = True
    config.fx_graph_cache = False
    told: dict[str, Any] = {}
    for inside in (False, True):
        one, two = (code(layers, inside) for layers in (1, 2))
        name = "inside" if inside else "before"
        for folder in sys.argv[1:]:
            (Path(folder) / f"{name}.py").write_text(two)
        told[name] = {"a layer": launches(two) - launches(one), "one layer in all": launches(one), "early": early(two)}
    print(json.dumps(told))  # noqa: T201 (its output)


if __name__ == "__main__":
    main()
