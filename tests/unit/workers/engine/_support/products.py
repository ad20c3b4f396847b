"""Which kernels of int8 products this machine can run."""

import pytest
import torch

from pelton.workers.engine.native.int8_weights import ProductWay
from pelton.workers.engine.native.kernels import kernels_for

_KERNELS = kernels_for(torch.float32, torch.device("cpu"))
_WAY = ProductWay.NONE if _KERNELS is None else _KERNELS.way_of_products

NEEDS_VNNI = pytest.mark.skipif(_WAY is ProductWay.NONE, reason="no AVX-512 VNNI, or no C compiler")
NEEDS_AMX = pytest.mark.skipif(_WAY is not ProductWay.AMX, reason="no AMX, or no C compiler")
