"""The continuous engine on an NVIDIA GPU: Triton kernels, and steps that never wait for the host.

Imported only where the engine runs on CUDA: Triton comes with PyTorch there and nowhere else.
"""

import os

# Products and sums in one rounding: what kernels are tested with. Triton's own default is about to change, and it warns
# of that where nothing is set.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
