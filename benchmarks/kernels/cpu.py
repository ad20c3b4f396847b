"""Products of one linear layer on a CPU, in each way that this processor has: packed layers, and int8 by each kernel.

    python -m benchmarks.kernels.cpu [--layers 576x3072 ...] [--rows N ...] [--threads N] [--calls N]

A layer is INxOUT. Each figure is the first decile of many calls in microseconds, since whatever else runs makes calls
only longer. `float32` and `bfloat16` are layers with weights in oneDNN's order, the others int8 layers of bfloat16 rows
by each kernel of `workers/engine/layers/int8_products.py` that this processor has. Prints a table and JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from pelton.workers.engine.layers.int8_linear import Int8Linear
from pelton.workers.engine.layers.int8_products import kinds_here
from pelton.workers.engine.layers.packed_linear import PackedLinear, can_pack

LAYERS, ROWS, CALLS = [(576, 3072), (1536, 576), (576, 49152)], [1, 8, 48, 256], 100

Product = Callable[[], Tensor]


def products(linear: nn.Linear, rows: Tensor) -> Iterator[tuple[str, Product]]:
    """What computes the layer, by name."""
    for dtype in (torch.float32, torch.bfloat16):
        if can_pack(dtype):
            layer, mine = PackedLinear(linear.to(dtype)), rows.to(dtype)
            yield str(dtype).removeprefix("torch."), partial(layer, mine)
    for kind in reversed(kinds_here()):
        yield kind.__name__, partial(Int8Linear(linear, kind=kind), rows.to(torch.bfloat16))


def microseconds(product: Product, calls: int) -> float:
    """The first decile, after a few calls that are not counted."""
    seconds = []
    for call in range(-3, calls):
        started = time.perf_counter()
        product()
        if call >= 0:
            seconds.append(time.perf_counter() - started)
    return sorted(seconds)[calls // 10] * 1e6


@torch.inference_mode()
def measure(inputs: int, outputs: int, row_counts: list[int], calls: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for count in row_counts:
        named = products(nn.Linear(inputs, outputs, bias=False), torch.randn(count, inputs))
        times = {name: round(microseconds(product, calls), 1) for name, product in named}
        found.append({"layer": f"{inputs}x{outputs}", "rows": count, "microseconds": times})
    return found


def sizes(layer: str) -> tuple[int, int]:
    """Inputs and outputs; raises ValueError."""
    inputs, outputs = map(int, layer.split("x"))
    return inputs, outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", type=sizes, default=LAYERS, metavar="INxOUT")
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=CALLS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    layers = track(asked.layers, "Multiplying", console=Console(stderr=True))
    found = [each for inputs, outputs in layers for each in measure(inputs, outputs, asked.rows, asked.calls)]
    names = list(found[0]["microseconds"])
    table = Table("layer", "rows", *names, title="microseconds of a layer")
    for each in found:
        times = each["microseconds"]
        table.add_row(each["layer"], str(each["rows"]), *(f"{times[name]:,.0f}" for name in names))
    Console().print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
