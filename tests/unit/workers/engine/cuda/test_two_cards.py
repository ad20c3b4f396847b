"""A model in two parts on two GPUs says what `generate` says on the CPU."""

from pathlib import Path

import pytest
import torch

from pelton.workers.engine.parallel.followers import Followers
from pelton.workers.engine.parallel.processes import spawn
from tests.unit.workers.engine._support.parts import Parts
from tests.unit.workers.engine._support.reference import run


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two NVIDIA GPUs here")
def test_two_cards(tmp_path: Path) -> None:
    """Chunks, decodes, windows and experts, by NCCL and the kernels."""
    followers = Followers.start(spawn(2), "cuda")
    try:
        for family in ("llama", "gemma3", "glm4", "qwen3-moe"):
            engine = Parts(followers, tmp_path, device="cuda", page_size=16).engine(family, max_batch_tokens=25)
            run(engine, family, [(1, 4), (40, 1), (5, 2), (37, 7)])
    finally:
        followers.close()
