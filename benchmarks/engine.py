"""The engine by itself, beside its peers and beside its own bound.

python -m benchmarks.engine [--device cpu] ...    benchmarks/engine_cpu.py says what is measured
python -m benchmarks.engine --device cuda ...     benchmarks/engine_gpu.py; needs only PyTorch and transformers
"""

import sys
from importlib import import_module

if __name__ == "__main__":
    import_module("benchmarks.engine_gpu" if any(word.endswith("cuda") for word in sys.argv) else "benchmarks.engine_cpu").main()
