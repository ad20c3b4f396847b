"""The engine by itself, beside its peers and beside its own bound.

python -m benchmarks.engine [--device cpu] ...    benchmarks/engine/cpu.py says what is measured
python -m benchmarks.engine --device cuda ...     benchmarks/engine/gpu.py; needs only PyTorch and transformers
"""

import sys
from importlib import import_module

if __name__ == "__main__":
    on_gpu = any(word.endswith("cuda") for word in sys.argv)
    import_module(f"benchmarks.engine.{'gpu' if on_gpu else 'cpu'}").main()
